import { closeSync, createReadStream, openSync, renameSync, writeSync } from "node:fs";
import { createGunzip, gzipSync } from "node:zlib";
import { type BundleIndex, type CachePart, FlashlmError, type TokenGenerator } from "@flashlm/contracts";
import { readTrace, recordingCache, TRACE_VERSION, type Trace, TraceWriter } from "@flashlm/window-cache";

/** A cache that records what tokens name into a file. */
export interface TraceRecording {
  readonly part: CachePart;
  /** Completes the file and gives it its name. Idempotent. */
  finish(): void;
}

/**
 * Records into `path`, which gets its name when the recording is finished. The engine's thread does not return to its event loop while it
 * works, so pieces are packed and written at once: each is a gzip member of its own.
 *
 * @throws ENGINE_OPTION when the file cannot be made.
 */
export function recordTrace(
  path: string,
  bundle: BundleIndex,
  sparsity: string,
  cache: CachePart,
): TraceRecording {
  const partial = `${path}.partial`;
  const file = openForWriting(path, partial);
  const { manifest } = bundle;
  const open: { writer: TraceWriter | null; done: boolean } = { writer: null, done: false };
  const part = recordingCache(cache, (options) => {
    open.writer = new TraceWriter(
      {
        formatVersion: TRACE_VERSION,
        unit: options.unit,
        layers: options.layers.map(({ unitCount }) => ({ unitCount })),
        recordBytes: manifest.record.strideBytes,
        model: manifest.source.name,
        sparsity,
      },
      (bytes) => writeAll(file, gzipSync(bytes)),
    );
    return open.writer;
  });
  return {
    part,
    finish() {
      if (open.done) return;
      open.done = true;
      open.writer?.finish();
      closeSync(file);
      renameSync(partial, path);
    },
  };
}

function openForWriting(path: string, partial: string): number {
  try {
    return openSync(partial, "w");
  } catch (error) {
    throw new FlashlmError(
      "ENGINE_OPTION",
      `Expected --trace to name a file that can be written but ${path} cannot. Check the folder.`,
      { path },
      error,
    );
  }
}

function writeAll(file: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(file, bytes, done);
}

/** The generator, which completes the recording when it is closed. */
export function finishOnClose(generator: TokenGenerator, recording: TraceRecording): TokenGenerator {
  return {
    contractVersion: 1,
    mode: generator.mode,
    contextLength: generator.contextLength,
    generate: (promptTokens, options) => generator.generate(promptTokens, options),
    evaluate: (tokens, onLogits) => generator.evaluate(tokens, onLogits),
    score: (tokens) => generator.score(tokens),
    report: () => generator.report(),
    async close() {
      await generator.close();
      recording.finish();
    },
  };
}

/** Reads a trace file whole. @throws TRACE_FORMAT, TRACE_LIMIT. */
export async function readTraceFile(path: string): Promise<Trace> {
  const file = createReadStream(path);
  const unpacked = file.pipe(createGunzip());
  // A pipe does not hand errors on.
  file.on("error", (error) => unpacked.destroy(error));
  try {
    return await readTrace(unpacked as AsyncIterable<Uint8Array>);
  } catch (error) {
    if (FlashlmError.isInstance(error)) throw error;
    throw new FlashlmError(
      "TRACE_FORMAT",
      `Expected ${path} to be a trace but it cannot be read: ${error instanceof Error ? error.message : String(error)}. Record one with: flashlm run --trace FILE`,
      { path },
      error,
    );
  } finally {
    file.destroy();
  }
}

import { FlashlmError } from "@flashlm/contracts";
import { neuronCacheConformance } from "@flashlm/contracts/testing";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { readTrace, recordingCache, slotMapCache, type TraceHeader, TraceWriter } from "../src/index.js";
import { FRAME } from "../src/trace/trace-format.js";

const HEADER: TraceHeader = {
  formatVersion: 1,
  unit: "neuron",
  layers: [{ unitCount: 20 }, { unitCount: 700 }],
  recordBytes: 512,
  model: "made up",
  sparsity: "oracle",
};

type Token = readonly (readonly number[])[];

function write(tokens: readonly Token[], header = HEADER): Uint8Array {
  const pieces: Uint8Array[] = [];
  const writer = new TraceWriter(header, (bytes) => pieces.push(bytes.slice()));
  for (const token of tokens) {
    for (const [layerIndex, ids] of token.entries())
      writer.units(layerIndex, Uint32Array.from(ids), ids.length);
    writer.endToken();
  }
  writer.finish();
  return Buffer.concat(pieces);
}

async function tokensOf(pieces: readonly Uint8Array[]): Promise<number[][][]> {
  const trace = await readTrace(pieces);
  return Array.from({ length: trace.tokenCount }, (_, token) =>
    trace.layers.map(({ starts, ids }) => Array.from(ids.subarray(starts[token], starts[token + 1]))),
  );
}

async function codeOf(bytes: Uint8Array): Promise<string> {
  try {
    await readTrace([bytes]);
    return "none";
  } catch (error) {
    return FlashlmError.isInstance(error) ? error.code : String(error);
  }
}

const ascending = (unitCount: number): fc.Arbitrary<number[]> =>
  fc
    .oneof(fc.constant(1), fc.constant(0.5), fc.constant(0.02))
    .chain((share) =>
      fc
        .array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: unitCount, maxLength: unitCount })
        .map((draws) => draws.flatMap((draw, id) => (draw < share ? [id] : []))),
    );

describe("trace", () => {
  it("gives back what was written, cut anywhere", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(ascending(20), ascending(700)), { maxLength: 6 }),
        fc.integer({ min: 1, max: 300 }),
        async (tokens, pieceBytes) => {
          const bytes = write(tokens);
          const pieces = Array.from({ length: Math.ceil(bytes.length / pieceBytes) }, (_, index) =>
            bytes.subarray(index * pieceBytes, (index + 1) * pieceBytes),
          );
          expect(await tokensOf(pieces)).toEqual(tokens);
        },
      ),
      { numRuns: 60, seed: 5 },
    );
  });

  it("has the bytes that the format's page says", () => {
    const header = { ...HEADER, layers: [{ unitCount: 20 }] };
    const bytes = write(
      [[[3, 4, 19]], [[0, 2, 4, 6, 8, 10, 12]], [Array.from({ length: 20 }, (_, id) => id)]],
      header,
    );
    const headerBytes = new DataView(bytes.buffer, bytes.byteOffset).getUint32(8, true);
    expect(Buffer.from(bytes.subarray(0, 8)).toString()).toBe("FLTRACE\n");
    expect(JSON.parse(Buffer.from(bytes.subarray(12, 12 + headerBytes)).toString())).toEqual(header);
    expect(Array.from(bytes.subarray(12 + headerBytes))).toEqual([
      ...[FRAME.gaps, 5, 0, 3, 3, 0, 14],
      ...[FRAME.token, 0],
      ...[FRAME.bits, 4, 0, 0b01010101, 0b00010101, 0],
      ...[FRAME.token, 0],
      ...[FRAME.all, 1, 0],
      ...[FRAME.token, 0],
      ...[FRAME.end, 1, 3],
    ]);
  });

  it("hands over in pieces, so that memory stays bounded", () => {
    let largest = 0;
    let pieceCount = 0;
    const writer = new TraceWriter({ ...HEADER, layers: [{ unitCount: 16_384 }] }, (bytes) => {
      largest = Math.max(largest, bytes.length);
      pieceCount++;
    });
    const ids = Uint32Array.from({ length: 8192 }, (_, id) => id * 2);
    for (let token = 0; token < 2000; token++) {
      writer.units(0, ids, ids.length);
      writer.endToken();
    }
    writer.finish();
    expect(pieceCount).toBeGreaterThan(10);
    expect(largest).toBeLessThan(300 * 1024);
  });

  it("takes what a layer named last, and leaves out a token that was not completed", async () => {
    const pieces: Uint8Array[] = [];
    const writer = new TraceWriter(HEADER, (bytes) => pieces.push(bytes.slice()));
    writer.units(0, Uint32Array.of(1, 2), 2);
    writer.units(0, Uint32Array.of(7), 1);
    writer.endToken();
    writer.units(1, Uint32Array.of(699), 1);
    writer.finish();
    expect(await tokensOf(pieces)).toEqual([[[7], []]]);
  });

  it("refuses what is no trace, cut off, or out of range, with a code", async () => {
    const whole = write([[[1], [2]]]);
    for (let lengthBytes = 0; lengthBytes < whole.length; lengthBytes++)
      expect(await codeOf(whole.subarray(0, lengthBytes)), `${lengthBytes} bytes`).toBe("TRACE_FORMAT");
    expect(await codeOf(whole)).toBe("none");
    expect(await codeOf(Buffer.concat([whole, Uint8Array.of(0)]))).toBe("TRACE_FORMAT");
    expect(await codeOf(Buffer.from("something else entirely"))).toBe("TRACE_FORMAT");
    expect(await codeOf(write([[[1], [2]]], { ...HEADER, formatVersion: 2 as 1 }))).toBe("TRACE_FORMAT");
    const outOfRange = write([[[1], [699]]], HEADER);
    const text = Buffer.from(outOfRange).toString("latin1").replace('"unitCount":700', '"unitCount":600');
    expect(await codeOf(Buffer.from(text, "latin1"))).toBe("TRACE_FORMAT");
  });

  it("survives flipped bytes: a trace or a typed error, nothing else", async () => {
    const whole = write(Array.from({ length: 5 }, (_, token) => [[token], [token, 100 + token]]));
    for (let at = 0; at < whole.length; at++) {
      const flipped = Uint8Array.from(whole);
      flipped[at]! ^= 0x55;
      expect(["none", "TRACE_FORMAT", "TRACE_LIMIT"], `byte ${at}`).toContain(await codeOf(flipped));
    }
  });
});

describe("recording cache", () => {
  it("records decoded tokens and not prompts", async () => {
    const pieces: Uint8Array[] = [];
    let writer: TraceWriter | null = null;
    const part = recordingCache(slotMapCache, (options) => {
      writer = new TraceWriter({ ...HEADER, layers: options.layers }, (bytes) => pieces.push(bytes.slice()));
      return writer;
    });
    const layers = [{ unitCount: 20, slotCount: 4, pinnedCount: 0 }];
    const cache = part.create({ unit: "neuron", layers, windowTokens: 2, moveRecord: () => {} });
    cache.acquire(0, Uint32Array.of(1, 2, 3), 3, "none").release();
    cache.acquire(0, Uint32Array.of(4, 9), 2, "window").release();
    cache.advanceToken();
    writer!.finish();
    expect(await tokensOf(pieces)).toEqual([[[4, 9]]]);
  });
});

neuronCacheConformance({
  name: "recording",
  part: recordingCache(slotMapCache, ({ layers }) => new TraceWriter({ ...HEADER, layers }, () => {})),
});

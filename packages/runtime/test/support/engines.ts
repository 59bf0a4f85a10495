import { join } from "node:path";
import { hashCheckpoint, openBundle, openCheckpoint, writeBundle } from "@flashlm/bundler";
import {
  type BundleIndex,
  type CachePart,
  FlashlmError,
  type TokenGenerator,
  type WeightDtype,
} from "@flashlm/contracts";
import { createMemoryReader, createNodeReader, createReadPlanner } from "@flashlm/flash-io";
import { kernelOverheadBytes, loadKernels } from "@flashlm/kernels";
import { parseSparsity } from "@flashlm/predictor";
import {
  createEngine,
  createSampler,
  type EngineOptions,
  type EngineParts,
  type MemoryPlan,
  planEngine,
} from "@flashlm/runtime";
import { slotMapCache } from "@flashlm/window-cache";

/** A mix of parts; what is left out is the default one. */
export interface Mix {
  readonly kernels?: "native" | "wasm" | "reference";
  readonly reader?: "node" | "memory";
  readonly cache?: CachePart;
  readonly sparsity?: string;
  /** Share of the bundle's weights, or all of them. */
  readonly share?: number;
  readonly options?: Partial<EngineOptions>;
  readonly parts?: Partial<EngineParts>;
}

/** Bundles a checkpoint into a folder and opens it. */
export async function bundleInto(
  checkpointPath: string,
  folder: string,
  dtype: WeightDtype,
): Promise<BundleIndex> {
  const checkpoint = await openCheckpoint(checkpointPath);
  const outPath = join(folder, `bundle-${dtype}`);
  try {
    await writeBundle(checkpoint, { outPath, dtype, contentHash: await hashCheckpoint(checkpoint.paths) });
  } finally {
    checkpoint.close();
  }
  return openBundle(outPath);
}

/** Engine parts of a mix. */
export function partsOf(bundle: BundleIndex, mix: Mix): EngineParts {
  return {
    bundle,
    openReader: (paths) => (mix.reader === "memory" ? createMemoryReader(paths) : createNodeReader(paths)),
    createPlanner: createReadPlanner,
    createKernels: (options) => loadKernels({ target: mix.kernels ?? "wasm", ...options }),
    kernelOverheadBytes,
    cache: mix.cache ?? slotMapCache,
    predictor: parseSparsity(mix.sparsity ?? "dense"),
    createSampler,
    ...mix.parts,
  };
}

/** The smallest budget that runs: a plan says what it lacks, and then what the memories lack that this adds. */
export function leastBytes(parts: EngineParts, contextLength: number): number {
  for (let memoryBytes = 1; ; ) {
    try {
      planEngine(parts, { memoryBytes, contextLength, threadCount: 2 });
      return memoryBytes;
    } catch (error) {
      if (!FlashlmError.isInstance(error)) throw error;
      memoryBytes += Number(error.details["missingBytes"]);
    }
  }
}

/** The largest budget, to 16 KiB, in which at most half of the neurons have slots: a little less is taken from buffers and scratch first. */
export function halfSlotsBytes(parts: EngineParts, options: EngineOptions): number {
  const plan = (memoryBytes: number): MemoryPlan => planEngine(parts, { ...options, memoryBytes });
  const slotsOf = ({ slotCountByLayer }: MemoryPlan): number =>
    slotCountByLayer.reduce((total, count) => total + count, 0);
  const whole = plan(Number.POSITIVE_INFINITY);
  let memoryBytes = whole.totalBytes;
  while (slotsOf(plan(memoryBytes)) > slotsOf(whole) / 2) memoryBytes -= 16 * 1024;
  return memoryBytes;
}

/** Makes an engine on this thread. The caller closes it. */
export function engineOf(bundle: BundleIndex, mix: Mix): Promise<TokenGenerator> {
  const memoryBytes =
    mix.share === undefined ? Number.POSITIVE_INFINITY : Math.floor(mix.share * bundle.weightBytes);
  return createEngine(partsOf(bundle, mix), {
    memoryBytes,
    contextLength: 256,
    threadCount: 2,
    ...mix.options,
  });
}

const GREEDY = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 0 };

/** Greedy continuation of a prompt; the end token does not stop it. */
export async function greedy(
  engine: TokenGenerator,
  prompt: readonly number[],
  count: number,
): Promise<number[]> {
  const tokens: number[] = [];
  for await (const event of engine.generate(prompt, { maxTokens: count, sampling: GREEDY, stopTokens: [] }))
    tokens.push(event.tokenId);
  return tokens;
}

/** All logits of a sequence. */
export async function logitsOf(
  engine: TokenGenerator,
  tokens: readonly number[],
  vocabularySize: number,
): Promise<Float32Array> {
  const all = new Float32Array(tokens.length * vocabularySize);
  await engine.evaluate(tokens, (rows, firstRow) => all.set(rows, firstRow * vocabularySize));
  return all;
}

/** Largest absolute difference. NaN counts as infinite. */
export function largestDifference(left: ArrayLike<number>, right: ArrayLike<number>): number {
  if (left.length !== right.length) return Number.POSITIVE_INFINITY;
  let largest = 0;
  for (let index = 0; index < left.length; index++) {
    const difference = Math.abs(left[index]! - right[index]!);
    if (!(difference <= largest)) largest = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference;
  }
  return largest;
}

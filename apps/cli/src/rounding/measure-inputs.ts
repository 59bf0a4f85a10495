import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { type InputMoments, type MeasuredRounding, openBundle } from "@flashlm/bundler";
import type { BundleIndex, PredictorPart } from "@flashlm/contracts";
import { kernelMemoryBytes, loadKernels, usualThreadCount } from "@flashlm/kernels";
import { createEngine, loadTokenizer } from "@flashlm/runtime";
import { composeParts } from "../engine-parts.js";
import { inputObserver } from "../input-observer.js";
import type { EngineFlags } from "../options.js";
import { MomentSummer, momentBytes } from "./moment-sums.js";

/** A text of many kinds, written for this purpose: prose, dialogue, terms, code, tables, several languages. */
const TEXT_PATH: string = fileURLToPath(new URL("../assets/rounding-text.txt", import.meta.url));
const TOKENS_MAX = 8192;
/** Tokens that go through the layers together. */
const PASS_TOKENS = 256;
const GROUP_WIDTH_MAX = 576;
/** f32 bytes of all layers' moments. */
const MOMENT_BYTES: number = 128 * 1024 * 1024;
/** For weights and scratch; what does not fit is streamed. */
const MEMORY_BYTES: number = 3 * 1024 ** 3;

const FLAGS: EngineFlags = {
  sparsity: "dense",
  lookAhead: "off",
  kernels: "auto",
  reader: "auto",
  kvCache: "f32",
  dots: "f32",
  cache: "auto",
  verify: "never",
};

/** The widest groups of whole blocks that fit the memory for moments. */
function groupWidthOf(hiddenSize: number, layerCount: number): number {
  for (let width = GROUP_WIDTH_MAX; width > 32; width -= 32)
    if (hiddenSize % width === 0 && layerCount * hiddenSize * width * 4 <= MOMENT_BYTES) return width;
  return 32;
}

/** Tokens of the text; where the bundle has no tokenizer, tokens in an order that repeats on every machine. */
async function tokensOf(bundle: BundleIndex): Promise<readonly number[]> {
  const tokenizer = await loadTokenizer(bundle.path);
  if (tokenizer)
    return tokenizer
      .encode(readFileSync(TEXT_PATH, "utf8"), { addSpecialTokens: false })
      .slice(0, TOKENS_MAX);
  const { vocabularySize } = bundle.manifest.model;
  return Array.from({ length: TOKENS_MAX / 2 }, (_, index) => (index * 2654435761) % vocabularySize);
}

async function runDense(
  bundle: BundleIndex,
  tokens: readonly number[],
  passTokens: number,
  predictor: PredictorPart,
): Promise<void> {
  const engine = await createEngine(
    { ...composeParts(bundle, FLAGS), predictor },
    {
      memoryBytes: Math.min(MEMORY_BYTES, 2 * bundle.weightBytes + 2 ** 30),
      contextLength: passTokens,
      promptChunkTokens: passTokens,
      threadCount: usualThreadCount(),
      verify: "never",
    },
  );
  try {
    for (let begin = 0; begin < tokens.length; begin += passTokens)
      await engine.evaluate(tokens.slice(begin, begin + passTokens), () => {});
  } finally {
    await engine.close();
  }
}

/**
 * Runs a bundle densely over a text of many kinds and returns the second moments of each layer's FFN inputs, for
 * rounding its checkpoint to 4 bits. Memory does not grow with the model.
 * @throws as `createEngine` does.
 */
export async function measureInputs(
  path: string,
  onProgress: (doneShare: number) => void,
): Promise<MeasuredRounding> {
  const bundle = await openBundle(path);
  const { layers, model } = bundle.manifest;
  const tokens = await tokensOf(bundle);
  const groupWidth = groupWidthOf(model.hiddenSize, layers.length);
  const chunkTokens = Math.min(PASS_TOKENS, model.hiddenSize);
  const threadCount = usualThreadCount();
  const kernels = await loadKernels({
    target: FLAGS.kernels,
    memoryBytes: kernelMemoryBytes(momentBytes(groupWidth, chunkTokens), { threadCount }),
    threadCount,
  });
  const summer = new MomentSummer(kernels, model.hiddenSize, groupWidth, chunkTokens);
  const sums = layers.map(() => summer.empty());
  const passTokens = Math.min(PASS_TOKENS, model.contextLengthMax);
  const passCount = Math.ceil(tokens.length / passTokens);
  let layersDone = 0;
  const part = inputObserver("moments", (layerIndex, tokenCount, inputs) => {
    summer.add(sums[layerIndex]!, inputs, tokenCount);
    onProgress(++layersDone / (layers.length * passCount));
  });
  try {
    await runDense(bundle, tokens, passTokens, part);
  } finally {
    await kernels.close();
  }
  const moments = sums.map((sum): InputMoments => summer.finish(sum));
  const id = createHash("sha256")
    .update(JSON.stringify([tokens, groupWidth]))
    .digest("hex")
    .slice(0, 16);
  return { id, inputMoments: (layerIndex) => moments[layerIndex]! };
}

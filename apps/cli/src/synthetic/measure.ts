import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { activeTarget, openBundle, openCheckpoint, type SyntheticCheckpoint } from "@flashlm/bundler";
import type { BundleIndex } from "@flashlm/contracts";
import { usualThreadCount } from "@flashlm/kernels";
import { createEngine } from "@flashlm/runtime";
import { composeParts } from "../engine-parts.js";
import { resolveBundle } from "../model-path.js";
import type { EngineFlags } from "../options.js";
import { ActivationCapture } from "./activation-capture.js";
import { type Matrix, zeroMatrix } from "./matrix.js";
import { type PredictedStatistics, predictedStatistics } from "./predicted-statistics.js";
import { fitPopularity, type PopularityFit } from "./window-statistics.js";

/** Tokens that heads are fitted to: excerpts of a few tokens from all over the text, so that they see all of its directions. */
const EXCERPT_TOKENS = 8;
const EXCERPT_COUNT = 160;
/** Consecutive tokens that everything is measured on. */
const HELD_TOKENS = 256;
/** Tokens that go through the layers together: each pass reads every weight once. */
const PASS_TOKENS = 256;
/** Neurons whose predictions are looked at; they are in no order, so the first ones are a sample. */
const NEURON_SAMPLE = 1024;
/** Layers whose predictions are looked at; active shares are of all. */
const LAYER_SAMPLE = 8;
/** For weights and scratch; what does not fit is streamed. */
const MEMORY_BYTES = 3 * 2 ** 30;

/** Statistics of one layer. */
export interface LayerStatistics {
  readonly layerIndex: number;
  readonly targetActiveShare: number;
  /** Over all neurons and tokens. */
  readonly activeShare: number;
  readonly popularity: PopularityFit;
  /** Null for layers that were not sampled. */
  readonly heads: PredictedStatistics | null;
}

/** What was measured on a dense run. */
export interface SyntheticStatistics {
  readonly trainTokens: number;
  readonly heldTokens: number;
  readonly layers: readonly LayerStatistics[];
}

/** Layers to sample: first, last and equal steps between. */
function sampledLayers(layerCount: number): Set<number> {
  const count = Math.min(layerCount, LAYER_SAMPLE);
  return new Set(
    Array.from({ length: count }, (_, index) =>
      Math.round((index * (layerCount - 1)) / Math.max(1, count - 1)),
    ),
  );
}

function textOf(checkpoint: SyntheticCheckpoint): { train: number[]; held: number[] } {
  const folder = checkpoint.path.endsWith(".gguf") ? dirname(checkpoint.path) : checkpoint.path;
  const { tokens } = JSON.parse(readFileSync(join(folder, "tokens.json"), "utf8")) as { tokens: number[] };
  const half = tokens.length / 2;
  const step = Math.floor(half / EXCERPT_COUNT);
  const train = Array.from({ length: EXCERPT_COUNT }, (_, index) =>
    tokens.slice(index * step, index * step + EXCERPT_TOKENS),
  ).flat();
  return { train, held: tokens.slice(half, half + HELD_TOKENS) };
}

/** Runs the model densely over a part of its text, in memory that does not grow with the model. */
async function runDense(
  bundle: BundleIndex,
  text: { train: number[]; held: number[] },
  flags: EngineFlags,
  onProgress: (doneShare: number) => void,
): Promise<ActivationCapture> {
  const layerCount = bundle.manifest.layers.length;
  const tokenCount = text.train.length + text.held.length;
  const runs = [text.held];
  for (let begin = text.train.length - PASS_TOKENS; begin >= 0; begin -= PASS_TOKENS)
    runs.unshift(text.train.slice(begin, begin + PASS_TOKENS));
  let layersDone = 0;
  const capture = new ActivationCapture(bundle.manifest, tokenCount, sampledLayers(layerCount), () =>
    onProgress(++layersDone / (layerCount * runs.length)),
  );
  const engine = await createEngine(
    { ...composeParts(bundle, { ...flags, sparsity: "dense" }), predictor: capture.predictorPart() },
    {
      memoryBytes: Math.min(MEMORY_BYTES, 2 * bundle.weightBytes + 2 ** 30),
      contextLength: PASS_TOKENS,
      promptChunkTokens: PASS_TOKENS,
      threadCount: flags.threads ?? usualThreadCount(),
      verify: "never",
      onActivations: capture.observe,
    },
  );
  try {
    for (const tokens of runs) await engine.evaluate(tokens, () => {});
  } finally {
    await engine.close();
  }
  return capture;
}

/**
 * Measures what a synthetic checkpoint does on its text: bundles it, as any run would, runs it densely and tries low-rank heads on the inputs of its
 * FFNs. @throws BUNDLE_WRITE, CHECKPOINT_UNSUPPORTED, BUDGET_TOO_SMALL.
 */
export async function measureSynthetic(
  checkpoint: SyntheticCheckpoint,
  flags: EngineFlags,
  onProgress: (label: string, doneShare: number) => void,
): Promise<SyntheticStatistics> {
  const bundle = await openBundle(await resolveBundle(checkpoint.path, flags, flags.json === true));
  const text = textOf(checkpoint);
  const capture = await runDense(bundle, text, flags, (doneShare) => onProgress("running", doneShare));
  const source = await openCheckpoint(checkpoint.path);
  const { shape, targets } = checkpoint.preset;
  const part = bundle.manifest.model.ffn.kind === "gated" ? "gate" : "up";
  try {
    const layers = capture.layers.map(({ inputs, activeTokens }, layerIndex): LayerStatistics => {
      onProgress("fitting heads", layerIndex / capture.layers.length);
      const active = activeTokens.reduce((sum, count) => sum + count, 0);
      return {
        layerIndex,
        targetActiveShare: activeTarget(targets, layerIndex, shape.layerCount),
        activeShare: active / (activeTokens.length * (text.train.length + text.held.length)),
        popularity: fitPopularity(activeTokens),
        heads: inputs === null ? null : heads(layerIndex, inputs),
      };
    });
    return { trainTokens: text.train.length, heldTokens: text.held.length, layers };
  } finally {
    source.close();
  }

  function heads(layerIndex: number, inputs: Matrix): PredictedStatistics {
    const neuronCount = Math.min(NEURON_SAMPLE, shape.neuronCount);
    const weights = zeroMatrix(neuronCount, shape.hiddenSize);
    source.readRows(`layers.${layerIndex}.ffn.${part}.weight`, 0, neuronCount, weights.values);
    const all = new Float32Array(shape.neuronCount);
    const biasName = `layers.${layerIndex}.ffn.${part}.bias`;
    if (source.tensors.has(biasName)) source.readRows(biasName, 0, 1, all);
    return predictedStatistics(
      inputs,
      text.train.length,
      weights,
      all.subarray(0, neuronCount),
      targets.windowTokens,
    );
  }
}

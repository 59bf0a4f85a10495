import type { BundleIndex, PredictorPart } from "@flashlm/contracts";
import { layerBlock } from "../../blocks.js";
import type { EngineOptions, EngineParts } from "../../engine-options.js";
import type { EngineSpeed } from "../engine-speed.js";
import { firstLayers } from "../first-layers.js";
import type { KernelSpeed } from "../kernel-speed.js";
import { type DensePlay, denseSpeed, type SparsePlay, sparseSpeed } from "./engine-fit.js";
import { play, type Scene, sameRandom, writeScene } from "./play.js";
import { type Script, scriptedPredictor } from "./scripted-predictor.js";
import { type LayerTime, setStage } from "./stage.js";

/** Attention weights and slots of the layers that are run, at most; one layer's where that is more. */
const ATTENTION_BYTES_MAX = 96 * 1024 * 1024;
const SLOT_BYTES_MAX = 96 * 1024 * 1024;
const LAYER_COUNT_MAX = 24;
const FEW_HITS = 0.03;
const MANY_HITS = 0.3;

/** Sparse scenes of one kind. Shares are of the neurons of a layer. */
interface SparseKind {
  /** Half have slots, so that there are as many to miss as to hit; or none. */
  readonly slotShare: number;
  readonly streamsBlocks: boolean;
  /** What each scene names and finds in slots, and what it misses. */
  readonly scenes: readonly (readonly [hitShare: number, missShare: number])[];
}

const withFewHits = (missShare: number): readonly [number, number] => [FEW_HITS, missShare];
const SLOTTED: SparseKind = {
  slotShare: 0.5,
  streamsBlocks: false,
  scenes: [[FEW_HITS, 0], [MANY_HITS, 0], ...[0.003, 0.02, 0.08, 0.25, 0.5].map(withFewHits)],
};
const OVERFLOWING: SparseKind = {
  slotShare: 0,
  streamsBlocks: false,
  scenes: [0.02, 0.08, 0.25].map((missShare) => [0, missShare]),
};
const STREAMED: SparseKind = {
  slotShare: 0.5,
  streamsBlocks: true,
  scenes: [0, 0.02, 0.25].map(withFewHits),
};
/** The smallest staging that plans make, where chunks cost most, and what plans of small models mostly have. */
const SMALL_FLIGHT_BYTES = 64 * 1024;
const MIDDLE_FLIGHT_BYTES = 512 * 1024;

/** How a rehearsal's engine is set up. */
export type RehearsalOptions = Pick<EngineOptions, "threadCount" | "precision" | "cacheDtype">;

const DENSE: PredictorPart = {
  name: "dense",
  lossless: true,
  dense: true,
  tensorNames: () => [],
  scratchBytes: () => 0,
  create: () => ({ contractVersion: 1, name: "dense", scoreProgram: () => null, predictInto: () => 0 }),
};

/**
 * Runs some of a bundle's layers as the engine runs them, on neurons named by a script, and measures what that costs beyond the
 * kernels' own time. Reads the bundle; some seconds, and some 200 to 330 MiB of memory, more where one layer's attention is larger.
 *
 * @param parts - those of the runs that are to be forecast; their predictor is not used.
 * @throws as `createEngine` does.
 */
export async function rehearse(
  parts: EngineParts,
  options: RehearsalOptions,
  kernel: KernelSpeed,
): Promise<EngineSpeed> {
  const { layers } = parts.bundle.manifest;
  const affordable = Math.floor(ATTENTION_BYTES_MAX / layerBlock(parts.bundle, 0).lengthBytes);
  const layerCount = Math.max(1, Math.min(LAYER_COUNT_MAX, layers.length, affordable));
  const bundle = firstLayers(parts.bundle, layerCount);
  const sparse = await rehearseSparse({ ...parts, bundle }, options, SLOTTED);
  const overflowing = await rehearseSparse({ ...parts, bundle }, options, OVERFLOWING);
  const streamed = {
    blockBytes: layerBlock(bundle, 0).lengthBytes,
    plays: await rehearseSparse({ ...parts, bundle }, options, STREAMED),
  };
  const large = await rehearseDense({ ...parts, bundle }, options, { flightBytes: null });
  const middle = await rehearseDense({ ...parts, bundle }, options, { flightBytes: MIDDLE_FLIGHT_BYTES });
  const small = await rehearseDense({ ...parts, bundle }, options, { flightBytes: SMALL_FLIGHT_BYTES });
  const resident = await rehearseResident(parts, options, layerCount);
  return {
    sparse: sparseSpeed(sparse, overflowing, kernel, streamed),
    dense: denseSpeed([large, middle, small], kernel, resident),
  };
}

/** As many of the layers as have room for all of their neurons, or null. */
async function rehearseResident(
  parts: EngineParts,
  options: RehearsalOptions,
  layerCountMax: number,
): Promise<DensePlay | null> {
  const { record, model } = parts.bundle.manifest;
  const affordable = Math.floor(SLOT_BYTES_MAX / (model.ffn.neuronCount * record.strideBytes));
  if (affordable < 1) return null;
  const bundle = firstLayers(parts.bundle, Math.min(layerCountMax, affordable));
  const slotCount = model.ffn.neuronCount;
  return rehearseDense({ ...parts, bundle }, options, { flightBytes: null, slotCount });
}

function totalMs({ waitMs, cacheMs, computeMs }: LayerTime): number {
  return waitMs + cacheMs + computeMs;
}

function neuronCountOf({ manifest }: BundleIndex): number {
  return Math.min(...manifest.layers.map(({ neuronCount }) => neuronCount));
}

async function rehearseSparse(
  parts: EngineParts,
  options: RehearsalOptions,
  { slotShare, streamsBlocks, scenes: shares }: SparseKind,
): Promise<SparsePlay[]> {
  const { layers, record } = parts.bundle.manifest;
  const neuronCount = neuronCountOf(parts.bundle);
  const affordable = Math.floor(SLOT_BYTES_MAX / layers.length / record.strideBytes);
  const wanted = Math.ceil(slotShare * neuronCount);
  const slotCount = Math.min(wanted, Math.max(1, affordable));
  const script: Script = { namedByLayer: [] };
  const predictor = scriptedPredictor(script);
  const stage = await setStage({ ...parts, predictor }, options, {
    slotCount,
    flightBytes: null,
    streamsBlocks,
  });
  const random = sameRandom();
  const sceneOf = ([hitShare, missShare]: readonly [number, number]): Scene => ({
    hitCount: Math.ceil(Math.min(slotCount, hitShare * neuronCount)),
    missCount: Math.ceil(missShare * neuronCount),
  });
  const scenes = shares
    .map(sceneOf)
    // Narrow layers have the same number of misses at several shares.
    .filter(({ missCount }, index, all) => missCount === 0 || missCount !== all[index - 1]?.missCount);
  try {
    const run = (scene: Scene) => play(stage, () => writeScene(script, stage, scene, random));
    // Fills the slots; then each scene once unseen, since the host compiles code as it is used.
    await run(sceneOf([0, slotShare / 2]));
    for (const scene of scenes) await run(scene);
    const plays: SparsePlay[] = [];
    for (const scene of scenes) plays.push({ ...scene, ...(await run(scene)) });
    return plays;
  } finally {
    await stage.close();
  }
}

async function rehearseDense(
  parts: EngineParts,
  options: RehearsalOptions,
  { flightBytes, slotCount = 0 }: { readonly flightBytes: number | null; readonly slotCount?: number },
): Promise<DensePlay> {
  const stage = await setStage({ ...parts, predictor: DENSE }, options, {
    slotCount,
    flightBytes,
    streamsBlocks: false,
  });
  const { strideBytes } = parts.bundle.manifest.record;
  const neuronCount = neuronCountOf(parts.bundle);
  try {
    const { flightBytes: ownBytes } = stage.plan;
    const flightCount = slotCount > 0 ? 1 : Math.ceil((neuronCount * strideBytes) / ownBytes);
    const sizes = { neuronCount, recordBytes: strideBytes, flightBytes: ownBytes, flightCount };
    const first = await play(stage, () => {});
    const second = await play(stage, () => {});
    // Others who use the disk make a play slower, never faster.
    return { ...sizes, ...(totalMs(first) < totalMs(second) ? first : second) };
  } finally {
    await stage.close();
  }
}

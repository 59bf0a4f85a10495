import type {
  BundleManifest,
  KernelOp,
  KernelProgram,
  MemoryHandle,
  PredictorContext,
  SparsityPredictor,
  WeightRef,
} from "@flashlm/contracts";
import { alignUp } from "@flashlm/contracts";
import { checkTarget, layerTensorName } from "./checks.js";

/** Scores of one token, `[neuronCount]`: as numbers and as their bits. */
export interface ScoreRow {
  readonly floats: Float32Array;
  readonly bits: Uint32Array;
}

/** Turns the scores of one token into its mask row; returns how many neurons it kept. Pure. */
export type RowSelector = (
  layerIndex: number,
  scores: ScoreRow,
  mask: Uint8Array,
  maskStart: number,
) => number;

/** What distinguishes one scoring predictor from another. Tensor names are without their layer prefix. */
export interface ScoredParts {
  readonly name: string;
  /** "dot": the dot products themselves plus the bias, before the activation. */
  readonly kind: "contribution" | "gate" | "product" | "dot";
  readonly gateName: string;
  readonly biasName?: string;
  readonly upName?: string;
  readonly downNormName?: string;
  readonly select: RowSelector;
}

/** Neurons of the widest layer. */
export function neuronCountMax(manifest: BundleManifest): number {
  return manifest.layers.reduce((most, layer) => Math.max(most, layer.neuronCount), 0);
}

/** Bytes of `[tokenCapacity, neuronCount]` f32 scores; one area serves all layers. */
export function scoreBytes(manifest: BundleManifest, tokenCapacity: number): number {
  return alignUp(tokenCapacity * neuronCountMax(manifest) * 4, 64);
}

/** Views of the score area, one row per token. */
function scoreRows(scores: Float32Array, tokenCapacity: number, neuronCount: number): readonly ScoreRow[] {
  return Array.from({ length: tokenCapacity }, (_, token) => {
    const floats = scores.subarray(token * neuronCount, (token + 1) * neuronCount);
    return { floats, bits: new Uint32Array(floats.buffer, floats.byteOffset, floats.length) };
  });
}

function scoreOp(
  context: PredictorContext,
  parts: ScoredParts,
  layerIndex: number,
  scores: MemoryHandle,
): KernelOp {
  const { ffn } = context.manifest.model;
  const tensor = (name: string): WeightRef => context.tensor(layerTensorName(layerIndex, name));
  if (parts.kind === "dot") {
    return {
      op: "matmul",
      tokenCount: context.tokenCount,
      weight: tensor(parts.gateName),
      source: context.hidden,
      target: scores,
      accumulate: false,
      ...(parts.biasName === undefined ? {} : { bias: tensor(parts.biasName).base }),
    };
  }
  return {
    op: "neuronScores",
    kind: parts.kind,
    tokenCount: context.tokenCount,
    gate: tensor(parts.gateName),
    ...(parts.upName === undefined ? {} : { up: tensor(parts.upName) }),
    ...(parts.downNormName === undefined ? {} : { downNorm: tensor(parts.downNormName).base }),
    activationFn: ffn.activation,
    upActivation: ffn.upActivation,
    source: context.hidden,
    scores,
  };
}

/** Makes a predictor that scores neurons with a kernel program and then selects row by row. Allocates here, never later. */
export function createScored(context: PredictorContext, parts: ScoredParts): SparsityPredictor {
  const { kernels, manifest, tokenCapacity } = context;
  const scoresHandle = kernels.memory.allocate(Math.max(scoreBytes(manifest, tokenCapacity), 64));
  const rowsByWidth = new Map<number, readonly ScoreRow[]>();
  const rowsByLayer = manifest.layers.map(({ neuronCount }) => {
    const made = rowsByWidth.get(neuronCount);
    if (made !== undefined) return made;
    const scores = kernels.memory.floats(scoresHandle, tokenCapacity * neuronCount);
    const rows = scoreRows(scores, tokenCapacity, neuronCount);
    rowsByWidth.set(neuronCount, rows);
    return rows;
  });
  const programs: readonly KernelProgram[] = manifest.layers.map((_, layerIndex) =>
    kernels.compile([scoreOp(context, parts, layerIndex, scoresHandle)]),
  );
  return {
    contractVersion: 1,
    name: parts.name,
    scoreProgram: (layerIndex) => programs[layerIndex] ?? null,
    predictInto(layerIndex, tokenCount, { mask }) {
      const neuronCount = checkTarget(manifest, tokenCapacity, layerIndex, tokenCount, mask);
      const rows = rowsByLayer[layerIndex]!;
      let keptCount = 0;
      for (let token = 0; token < tokenCount; token++) {
        keptCount += parts.select(layerIndex, rows[token]!, mask, token * neuronCount);
      }
      return keptCount;
    },
  };
}

import type { BundleIndex, HeadName } from "@flashlm/contracts";
import { kernelMemoryBytes, loadKernels } from "@flashlm/kernels";
import {
  type HeadSamples,
  HeadTrainer,
  type TrainedHead,
  type TrainingOptions,
  trainingBytes,
} from "@flashlm/predictor";
import { loadHead, saveHead } from "./head-file.js";
import { layerSamples } from "./layer-samples.js";
import type { TrainingFolder } from "./training-folder.js";

/** Tokens of a minibatch. */
const BATCH_TOKENS = 256;

/** What {@link trainHeads} needs. */
export interface HeadsRequest {
  readonly bundle: BundleIndex;
  readonly folder: TrainingFolder;
  readonly split: Pick<HeadSamples, "training" | "heldOut">;
  /** Rank of the heads that read each layer. */
  readonly ranks: readonly number[];
  readonly options: TrainingOptions;
  /** Share of the neurons that count as active where no activation is exactly zero; null for the ReLU family. */
  readonly keptShare: number | null;
  /** Whether heads that guess the next layer's neurons are trained too. */
  readonly lookAhead: boolean;
  readonly kernels: "auto" | "native" | "wasm" | "reference";
  readonly threadCount: number;
  readonly onProgress: (doneShare: number) => void;
}

/** Figures of a finished head; its weights stay in its file. */
export type HeadFigures = Pick<TrainedHead, "rank" | "points" | "activeShare"> & {
  readonly head: HeadName;
  readonly layerIndex: number;
};

/** The settings a kept head must have been trained with. */
export function headSettings(
  request: Pick<HeadsRequest, "options" | "ranks" | "keptShare">,
  layerIndex: number,
): string {
  return JSON.stringify({ ...request.options, rank: request.ranks[layerIndex], kept: request.keptShare });
}

/** Trains every head that is not kept yet, one at a time, and keeps each. Memory: one layer's records, and the kernels'. */
export async function trainHeads(request: HeadsRequest): Promise<HeadFigures[]> {
  const { bundle, folder, ranks } = request;
  const layerCount = bundle.manifest.layers.length;
  const heads = ranks.flatMap((_, layerIndex): { head: HeadName; layerIndex: number }[] => [
    { head: "lowrank", layerIndex },
    ...(request.lookAhead && layerIndex + 1 < layerCount ? [{ head: "lookahead" as const, layerIndex }] : []),
  ]);
  const figures: HeadFigures[] = [];
  const { hiddenSize, ffn } = bundle.manifest.model;
  const shapes = [...new Set(ranks)].map((rank) => ({
    hiddenSize,
    neuronCount: ffn.neuronCount,
    rank,
    batchTokens: Math.min(BATCH_TOKENS, request.split.training.length),
  }));
  const kernels = await loadKernels({
    target: request.kernels,
    memoryBytes: kernelMemoryBytes(
      shapes.reduce((sum, shape) => sum + trainingBytes(shape), 0),
      request,
    ),
    threadCount: request.threadCount,
  });
  try {
    const trainers = new Map(shapes.map((shape) => [shape.rank, new HeadTrainer(kernels, shape)]));
    for (const [index, { head, layerIndex }] of heads.entries()) {
      const path = folder.headPath(head, layerIndex);
      const settings = headSettings(request, layerIndex);
      let trained = loadHead(path, settings);
      if (!trained) {
        const samples = layerSamples(bundle, folder, head, layerIndex, request.split, request.keptShare);
        trained = await trainers
          .get(ranks[layerIndex]!)!
          .train(samples, request.options, (share) => request.onProgress((index + share) / heads.length));
        saveHead(path, trained, settings);
      }
      const { rank, points, activeShare } = trained;
      figures.push({ head, layerIndex, rank, points, activeShare });
      request.onProgress((index + 1) / heads.length);
    }
  } finally {
    await kernels.close();
  }
  return figures;
}

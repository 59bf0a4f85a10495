import type { HeadName, KernelSetOptions } from "@flashlm/contracts";
import { kernelMemoryBytes, loadKernels } from "@flashlm/kernels";
import {
  type HeadShape,
  HeadTrainer,
  type TrainedHead,
  type TrainingOptions,
  trainingBytes,
  trainingColumnCount,
  trainingHostBytes,
} from "@flashlm/predictor";
import type { PlanRow } from "@flashlm/runtime";
import { loadHead, saveHead } from "./head-file.js";
import { LayerSamples, layerSamplesBytes, type SamplesRequest } from "./layer-samples.js";

/** Tokens of a minibatch. */
const BATCH_TOKENS = 256;

/** What {@link trainHeads} needs. */
export interface HeadsRequest extends SamplesRequest {
  /** Rank of the heads that read each layer. */
  readonly ranks: readonly number[];
  readonly options: TrainingOptions;
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

type ShapesRequest = Pick<HeadsRequest, "bundle" | "ranks" | "split" | "threadCount" | "lookAhead">;

function headShapes({ bundle, ranks, split }: ShapesRequest): HeadShape[] {
  const { hiddenSize, ffn } = bundle.manifest.model;
  return [...new Set(ranks)].map((rank) => ({
    hiddenSize,
    neuronCount: ffn.neuronCount,
    rank,
    batchTokens: Math.min(BATCH_TOKENS, split.training.length),
  }));
}

function kernelOptions(request: ShapesRequest): KernelSetOptions {
  const shapes = headShapes(request);
  const needs = {
    threadCount: request.threadCount,
    columnCountMax: Math.max(...shapes.map(trainingColumnCount)),
  };
  const allocatedBytes = shapes.reduce((sum, shape) => sum + trainingBytes(shape), 0);
  return { ...needs, memoryBytes: kernelMemoryBytes(allocatedBytes, needs) };
}

/** What {@link trainHeads} allocates, by owner. */
export function trainHeadsRows(request: ShapesRequest): PlanRow[] {
  const tokenCount = request.split.training.length + request.split.heldOut.length;
  // A trainer of each shape keeps its moments.
  const hostBytes = headShapes(request).reduce((sum, shape) => sum + trainingHostBytes(shape, tokenCount), 0);
  return [
    { owner: "training matrices", plannedBytes: kernelOptions(request).memoryBytes },
    { owner: "training samples", plannedBytes: layerSamplesBytes(request, tokenCount) },
    { owner: "optimizer and heads", plannedBytes: hostBytes },
  ];
}

/** Trains every head that is not kept yet, one at a time, and keeps each. Memory: {@link trainHeadsRows}. */
export async function trainHeads(request: HeadsRequest): Promise<HeadFigures[]> {
  const { bundle, folder, ranks } = request;
  const layerCount = bundle.manifest.layers.length;
  const heads = ranks.flatMap((_, layerIndex): { head: HeadName; layerIndex: number }[] => [
    { head: "lowrank", layerIndex },
    ...(request.lookAhead && layerIndex + 1 < layerCount ? [{ head: "lookahead" as const, layerIndex }] : []),
  ]);
  const figures: HeadFigures[] = [];
  const shapes = headShapes(request);
  const kernels = await loadKernels({ target: request.kernels, ...kernelOptions(request) });
  try {
    const samples = new LayerSamples(request);
    const trainers = new Map(shapes.map((shape) => [shape.rank, new HeadTrainer(kernels, shape)]));
    for (const [index, { head, layerIndex }] of heads.entries()) {
      const path = folder.headPath(head, layerIndex);
      const settings = headSettings(request, layerIndex);
      let trained = loadHead(path, settings);
      if (!trained) {
        trained = await trainers
          .get(ranks[layerIndex]!)!
          .train(samples.read(head, layerIndex), request.options, (share) =>
            request.onProgress((index + share) / heads.length),
          );
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

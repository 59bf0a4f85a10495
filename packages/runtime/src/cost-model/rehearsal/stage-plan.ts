import type { EngineOptions, EngineParts } from "../../engine-options.js";
import { BLOCK_BUFFER_COUNT, type MemoryPlan, planMemory } from "../../memory-plan.js";
import { kernelNeedsOf } from "../../plan-engine.js";
import { FLIGHT_COUNT, padded } from "../../plan-sizes.js";
import { apartBytes } from "../apart.js";

/** Sizes that a rehearsal is made with. */
export interface StageSizes {
  readonly slotCount: number;
  /** Staging of each flight; null takes what a plan without limit has. */
  readonly flightBytes: number | null;
  /** Whether attention passes through a ring of buffers, as with little memory, instead of staying. */
  readonly streamsBlocks: boolean;
}

/** Weights that a stage does not load. */
const ABSENT = ["neuron slots", "embeddings and head", "read buffers"];

/** A plan of these sizes, and the memory that its kernels need. */
export function planStage(
  parts: EngineParts,
  options: Pick<EngineOptions, "threadCount" | "cacheDtype">,
  { slotCount, flightBytes, streamsBlocks }: StageSizes,
): { plan: MemoryPlan; memoryBytes: number } {
  const { bundle, predictor } = parts;
  const { layers, record } = bundle.manifest;
  const whole = planMemory({
    bundle,
    predictor,
    memoryBytes: Number.POSITIVE_INFINITY,
    contextLength: Math.min(16, bundle.manifest.model.contextLengthMax),
    contextNeeded: 0,
    promptChunkTokens: 1,
    kernelOverheadBytes: parts.kernelOverheadBytes(kernelNeedsOf(bundle, options)),
    cacheDtype: options.cacheDtype ?? null,
  });
  const plan = {
    ...whole,
    flightBytes: Math.min(flightBytes ?? whole.flightBytes, whole.flightBytes),
    slotCountByLayer: layers.map(({ neuronCount }) => Math.min(slotCount, neuronCount)),
    // Dense runs keep the first neurons for good.
    pinnedCountByLayer: layers.map(({ neuronCount }) =>
      predictor.dense ? Math.min(slotCount, neuronCount) : 0,
    ),
    layerBlockResident: layers.map(() => !streamsBlocks),
    blockBufferCount: streamsBlocks ? BLOCK_BUFFER_COUNT.full : 0,
  };
  const slotBytes = plan.slotCountByLayer.reduce(
    (total, count) => total + padded(count * record.strideBytes),
    0,
  );
  const otherBytes = whole.rows
    .filter(({ owner }) => !ABSENT.includes(owner))
    .reduce((total, { plannedBytes }) => total + plannedBytes, 1024 * 1024);
  const ringBytes = plan.blockBufferCount * plan.blockBufferBytes;
  return {
    plan,
    memoryBytes: otherBytes + slotBytes + ringBytes + FLIGHT_COUNT * plan.flightBytes + apartBytes(bundle),
  };
}

import {
  assert,
  type BundleIndex,
  type FlashReader,
  type KernelSet,
  type NeuronCache,
  type PredictorPart,
} from "@flashlm/contracts";
import { createRecords, withReaderAndKernels } from "../../assemble.js";
import { layerBlock } from "../../blocks.js";
import type { EngineOptions, EngineParts } from "../../engine-options.js";
import { ForwardPass } from "../../forward.js";
import type { MemoryPlan } from "../../memory-plan.js";
import { attachMemory } from "../../memory-windows.js";
import { compileLayers } from "../../programs.js";
import type { RecordStream } from "../../record-stream.js";
import { Residency } from "../../residency.js";
import { createRunState, type RunState } from "../../run-state.js";
import { Apart } from "../apart.js";
import { planStage, type StageSizes } from "./stage-plan.js";

/** What a layer took of a token. Milliseconds. */
export interface LayerTime {
  readonly waitMs: number;
  readonly cacheMs: number;
  readonly computeMs: number;
  /** Of the neurons that were computed last, those that fired. */
  readonly activeShare: number;
}

/** Some layers of a model, ready to run as the engine runs them, without embedding and head. */
export interface Stage {
  readonly bundle: BundleIndex;
  readonly cache: NeuronCache;
  readonly plan: MemoryPlan;
  /** Runs one token through the layers; the mean of them. */
  token(): Promise<LayerTime>;
  close(): Promise<void>;
}

/** Sets the stage: opens the files, loads the layers' attention. `parts.bundle` has as many layers as are to be run. */
export async function setStage(
  parts: EngineParts,
  options: Pick<EngineOptions, "threadCount" | "precision" | "cacheDtype">,
  sizes: StageSizes,
): Promise<Stage> {
  const { plan, memoryBytes } = planStage(parts, options, sizes);
  const needs = { memoryBytes, threadCount: options.threadCount };
  return withReaderAndKernels(parts, needs, options.precision, (opened, kernels) =>
    build(parts, plan, opened, kernels),
  );
}

/** A residual stream of ones is as good as any: what layers cost does not depend on it. */
function fillHidden(kernels: KernelSet, state: RunState, bundle: BundleIndex): () => void {
  const hidden = kernels.memory.floats(state.hidden, bundle.manifest.model.hiddenSize);
  return () => {
    for (let index = 0; index < hidden.length; index++) hidden[index] = index % 7 < 3 ? 1 : -1;
  };
}

async function build(
  parts: EngineParts,
  plan: MemoryPlan,
  opened: FlashReader,
  kernels: KernelSet,
): Promise<Stage> {
  const { bundle, predictor } = parts;
  const reader = attachMemory(opened, kernels.memory);
  const state = createRunState(bundle, plan, kernels);
  const checkAbort = (): void => {};
  const blocks = bundle.manifest.layers.map((_, layerIndex) => layerBlock(bundle, layerIndex));
  const residency = new Residency(reader, kernels, {
    bufferBytes: plan.blockBufferBytes,
    bufferCount: plan.blockBufferCount,
    largestBlockBytes: Math.max(...blocks.map(({ lengthBytes }) => lengthBytes)),
    checkAbort,
  });
  for (const [layerIndex, block] of blocks.entries())
    await residency.add(`attention.${layerIndex}`, block, plan.layerBlockResident[layerIndex] ?? true);
  // Checksums are of a run's first reads.
  const { cache, records } = createRecords(
    parts,
    { memoryBytes: plan.totalBytes, contextLength: null, threadCount: 1, windowTokens: 1, verify: "never" },
    plan,
    reader,
    kernels,
    state,
  );
  const forward = new ForwardPass({
    bundle,
    kernels,
    state,
    residency,
    records,
    cache,
    predictor: createPredictor(predictor, bundle, kernels, state),
    dense: predictor.dense,
    lookAhead: null,
    lookAheadIsExact: false,
    embed: fillHidden(kernels, state, bundle),
    ...compileLayers(bundle, plan, state, residency, kernels),
    advanceToken: () => cache.advanceToken(),
    checkAbort,
  });
  const activation = kernels.memory.floats(state.activation, bundle.manifest.model.ffn.neuronCount);
  const layerCount = bundle.manifest.layers.length;
  const apart = new Apart(kernels, bundle);
  let begin = 0;
  const token = async (): Promise<LayerTime> => {
    if (!isReadAhead(bundle, plan, predictor)) await apart.since(begin);
    begin = performance.now();
    return timeToken({ forward, records, residency, activation, layerCount });
  };
  const close = async (): Promise<void> => {
    records.reset();
    residency.reset();
    await reader.close();
    await kernels.close();
  };
  return { bundle, cache, plan, token, close };
}

/** Whether something is read for the next token at the end of one: it would be there for nothing after a pause. */
function isReadAhead({ manifest }: BundleIndex, plan: MemoryPlan, { dense }: PredictorPart): boolean {
  const isMissing = manifest.layers.some(
    ({ neuronCount }, index) => plan.slotCountByLayer[index]! < neuronCount,
  );
  return plan.blockBufferCount > 0 || (dense && isMissing);
}

/** What a token is timed by. */
interface TimedParts {
  readonly forward: ForwardPass;
  readonly records: RecordStream;
  readonly residency: Residency;
  readonly activation: Float32Array;
  readonly layerCount: number;
}

async function timeToken(parts: TimedParts): Promise<LayerTime> {
  const { forward, records, residency, activation, layerCount } = parts;
  const waited = (): number => records.waitMs + residency.waitMs;
  const before = { waitMs: waited(), cacheMs: records.manageMs, keptCount: forward.keptNeurons };
  const start = performance.now();
  await forward.run([0], 1, 0);
  const tokenMs = performance.now() - start;
  const waitMs = (waited() - before.waitMs) / layerCount;
  const cacheMs = (records.manageMs - before.cacheMs) / layerCount;
  const lastCount = Math.max(1, Math.floor((forward.keptNeurons - before.keptCount) / layerCount));
  let activeCount = 0;
  for (let position = 0; position < lastCount; position++) activeCount += activation[position] ? 1 : 0;
  const computeMs = tokenMs / layerCount - waitMs - cacheMs;
  return { waitMs, cacheMs, computeMs, activeShare: activeCount / lastCount };
}

function createPredictor(
  predictor: PredictorPart,
  { manifest }: BundleIndex,
  kernels: KernelSet,
  state: RunState,
): ReturnType<PredictorPart["create"]> {
  return predictor.create({
    kernels,
    manifest,
    tokenCapacity: 1,
    tokenCount: state.tokenCountWord,
    hidden: state.normed,
    tensor: (name) => {
      assert(false, `a rehearsal's predictor has no tensor ${name}`);
    },
  });
}

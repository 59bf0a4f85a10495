import {
  FlashlmError,
  type FlashReader,
  type KernelSet,
  type NeuronCache,
  type ReadPlanner,
  type SparsityPredictor,
} from "@flashlm/contracts";
import {
  BLOCK_ALIGNMENT_BYTES,
  largestBytes,
  layerBlock,
  pinnedTensors,
  predictorBlock,
  spanOf,
} from "./blocks.js";
import { withPrecision } from "./dot-precision.js";
import { createEmbedding } from "./embedding.js";
import { type EngineOptions, type EngineParts, WINDOW_TOKENS } from "./engine-options.js";
import { createFlight, type Flight } from "./flight.js";
import { FlightReads } from "./flight-reads.js";
import { ForwardPass } from "./forward.js";
import { createHead } from "./head.js";
import { headTiles } from "./head-tiles.js";
import { allUsed, LookAhead, type LookAheadStats } from "./look-ahead.js";
import type { MemoryPlan } from "./memory-plan.js";
import { attachMemory, memoryCopy } from "./memory-windows.js";
import { kernelNeedsOf } from "./plan-engine.js";
import { FLIGHT_COUNT, guessFlightCount } from "./plan-sizes.js";
import { compileLayers } from "./programs.js";
import { READ_BYTES_MAX } from "./read-into.js";
import { RecordStream } from "./record-stream.js";
import { RecordVerifier } from "./record-verifier.js";
import { Residency } from "./residency.js";
import { createRunState, type RunState } from "./run-state.js";

/** Gaps up to this are read rather than skipped: a second request costs about as much as 16 KiB of transfer (bench random-read). */
const GAP_BYTES_MAX = 16 * 1024;

/** An engine's parts, joined. */
export interface Machine {
  readonly plan: MemoryPlan;
  readonly mode: Readonly<Record<string, string>>;
  readonly state: RunState;
  readonly forward: ForwardPass;
  readonly records: RecordStream;
  readonly lookAhead: LookAhead | null;
  /** What became of early reads; undefined where nothing is read early for a layer. */
  readonly lookAheadStats: () => LookAheadStats | undefined;
  readonly residency: Residency;
  readonly reader: FlashReader;
  readonly cache: NeuronCache;
  readonly loadReadBytes: number;
  /** Logits of rows of `state.hidden`, into `state.logits`. At most `plan.logitRowCount` rows. */
  head(firstRow: number, rowCount: number): Promise<void>;
  reset(): void;
  close(): Promise<void>;
}

/** Joins the parts by a plan, loads what is resident, compiles the programs. Closes what it opened if that fails. */
export async function assembleEngine(
  parts: EngineParts,
  options: EngineOptions,
  plan: MemoryPlan,
): Promise<Machine> {
  const needs = { memoryBytes: plan.totalBytes, ...kernelNeedsOf(parts.bundle, options) };
  return withReaderAndKernels(parts, needs, options.precision, (reader, kernels) =>
    join(parts, options, plan, reader, kernels),
  );
}

/** Opens a bundle's files and makes kernels, and builds on both; closes them if that fails. */
export async function withReaderAndKernels<Built>(
  parts: EngineParts,
  needs: Parameters<EngineParts["createKernels"]>[0],
  precision: EngineOptions["precision"],
  build: (reader: FlashReader, kernels: KernelSet) => Promise<Built>,
): Promise<Built> {
  const reader = await parts.openReader(parts.bundle.filePaths);
  try {
    const kernels = withPrecision(await parts.createKernels(needs), precision ?? "f32");
    try {
      return await build(reader, kernels);
    } catch (error) {
      await kernels.close();
      throw error;
    }
  } catch (error) {
    await reader.close();
    throw error;
  }
}

function createPlanner(parts: EngineParts, reader: FlashReader): ReadPlanner {
  const { alignmentBytes } = reader.capabilities;
  const choice = { alignmentBytes, gapBytesMax: GAP_BYTES_MAX, readBytesMax: READ_BYTES_MAX };
  return parts.createPlanner(choice, reader);
}

/** Cache, flights and what reads records: all that a layer's neurons pass through. */
export function createRecords(
  parts: EngineParts,
  options: EngineOptions,
  plan: MemoryPlan,
  reader: FlashReader,
  kernels: KernelSet,
  state: RunState,
): Pick<Machine, "cache" | "records" | "lookAhead" | "lookAheadStats"> & { planner: ReadPlanner } {
  const { bundle } = parts;
  const cache = parts.cache.create({
    unit: "neuron",
    layers: bundle.manifest.layers.map((layer, layerIndex) => {
      const slotCount = plan.slotCountByLayer[layerIndex]!;
      return {
        unitCount: layer.neuronCount,
        slotCount,
        pinnedCount: plan.pinnedCountByLayer[layerIndex]!,
      };
    }),
    windowTokens: options.windowTokens ?? Math.max(1, plan.windowTokens ?? WINDOW_TOKENS),
    moveRecord: (layerIndex, from, to) => moveRecord(layerIndex, from, to),
  });
  const { strideBytes } = bundle.manifest.record;
  const slotBase = plan.slotCountByLayer.map((count) =>
    kernels.memory.allocate(Math.max(count * strideBytes, 64), BLOCK_ALIGNMENT_BYTES),
  );
  const copy = memoryCopy(kernels.memory);
  const moveRecord = (layerIndex: number, from: number, to: number): void => {
    const base = slotBase[layerIndex]!.offsetBytes;
    copy(base + to * strideBytes, base + from * strideBytes, strideBytes);
  };
  const planner = createPlanner(parts, reader);
  const flightsOf = (count: number): Flight[] =>
    Array.from({ length: count }, () => createFlight(bundle, plan, kernels, state));
  const flights = flightsOf(FLIGHT_COUNT);
  const { flightBytes } = plan;
  const reads = new FlightReads({ bundle, reader, planner, copy, flightBytes });
  const verifier = new RecordVerifier(bundle, kernels, options.verify ?? "first");
  const shared = { bundle, cache, slotBase, reads, verifier };
  const records = new RecordStream({ ...shared, planner, flights, flightBytes });
  const guesses = flightsOf(guessFlightCount(parts.predictor));
  const lookAhead = guesses.length > 0 ? new LookAhead(shared, guesses) : null;
  const { lookAheadIsExact } = parts.predictor;
  const lookAheadStats = (): LookAheadStats | undefined =>
    lookAhead?.stats() ?? (lookAheadIsExact ? allUsed(records.recordsReadAhead) : undefined);
  return { cache, records, lookAhead, lookAheadStats, planner };
}

function createPredictor(
  { bundle, predictor }: EngineParts,
  plan: MemoryPlan,
  kernels: KernelSet,
  state: RunState,
  residency: Residency,
): SparsityPredictor {
  return predictor.create({
    kernels,
    manifest: bundle.manifest,
    tokenCapacity: plan.tokenCapacity,
    tokenCount: state.tokenCountWord,
    hidden: state.normed,
    tensor: (name) => residency.weight(`predictor.${name.split(".")[1]}`, bundle.tensor(name)),
  });
}

async function join(
  parts: EngineParts,
  options: EngineOptions,
  plan: MemoryPlan,
  opened: FlashReader,
  kernels: KernelSet,
): Promise<Machine> {
  const { bundle } = parts;
  checkVersions({ bundle, reader: opened, kernels });
  const reader = attachMemory(opened, kernels.memory);
  const state = createRunState(bundle, plan, kernels);
  const checkAbort = (): void => {
    if (options.shouldStop?.())
      throw new FlashlmError("ENGINE_ABORTED", "The generation was stopped by its caller.");
  };
  const residency = await loadBlocks(parts, plan, reader, kernels, checkAbort);
  const { planner, ...stream } = createRecords(parts, options, plan, reader, kernels, state);
  const { cache, records, lookAhead } = stream;
  const predictor = createPredictor(parts, plan, kernels, state, residency);
  const { onActivations } = options;
  const activation = kernels.memory.floats(
    state.activation,
    plan.tokenCapacity * bundle.manifest.model.ffn.neuronCount,
  );
  const forward = new ForwardPass({
    bundle,
    kernels,
    state,
    residency,
    records,
    cache,
    predictor,
    dense: parts.predictor.dense,
    lookAhead,
    lookAheadIsExact: parts.predictor.lookAheadIsExact ?? false,
    embed: createEmbedding(bundle, plan, reader, kernels, state, residency),
    ...compileLayers(bundle, plan, state, residency, kernels),
    advanceToken: () => {
      cache.advanceToken();
      lookAhead?.advanceToken();
    },
    checkAbort,
    ...(onActivations
      ? { onActivations: (flight, tokenCount) => onActivations(flight, tokenCount, activation) }
      : {}),
  });
  const reset = (): void => {
    records.reset();
    lookAhead?.reset();
    residency.reset();
  };
  return {
    plan,
    state,
    forward,
    ...stream,
    residency,
    reader,
    reset,
    mode: describeMode(parts, options, plan, reader, planner, kernels),
    loadReadBytes: reader.stats().readBytes,
    head: createHead(bundle, plan, state, residency, kernels),
    close: async () => {
      reset();
      await reader.close();
      await kernels.close();
    },
  };
}

function checkVersions(parts: Readonly<Record<string, { readonly contractVersion: number }>>): void {
  for (const [name, part] of Object.entries(parts)) {
    if (part.contractVersion !== 1) {
      throw new FlashlmError(
        "ENGINE_CONTRACT",
        `Expected contract version 1 of ${name} but received ${part.contractVersion}. Install matching packages.`,
      );
    }
  }
}

async function loadBlocks(
  parts: EngineParts,
  plan: MemoryPlan,
  reader: FlashReader,
  kernels: KernelSet,
  checkAbort: () => void,
): Promise<Residency> {
  const { bundle, predictor } = parts;
  const singles = pinnedTensors(bundle, plan.headResident).map((tensor) => ({
    name: tensor.name,
    extent: spanOf([tensor]),
  }));
  const tiles = plan.headResident ? [] : headTiles(bundle, plan.headTileRowCount);
  const layers = bundle.manifest.layers.map((_, layerIndex) => ({
    attention: layerBlock(bundle, layerIndex),
    predictor: predictorBlock(bundle, predictor, layerIndex),
  }));
  const extents = layers.flatMap((layer) => [layer.attention, layer.predictor ?? []].flat());
  const largest = largestBytes([...extents, ...[...singles, ...tiles].map(({ extent }) => extent)]);
  const residency = new Residency(reader, kernels, {
    bufferBytes: plan.blockBufferBytes,
    bufferCount: plan.blockBufferCount,
    largestBlockBytes: largest,
    checkAbort,
  });
  for (const { name, extent } of singles) await residency.add(name, extent, true);
  for (const [layerIndex, layer] of layers.entries()) {
    await residency.add(
      `attention.${layerIndex}`,
      layer.attention,
      plan.layerBlockResident[layerIndex] ?? false,
    );
    if (layer.predictor)
      await residency.add(
        `predictor.${layerIndex}`,
        layer.predictor,
        plan.predictorBlockResident[layerIndex] ?? false,
      );
  }
  for (const { name, extent } of tiles) await residency.add(name, extent, false);
  return residency;
}

function describeMode(
  parts: EngineParts,
  options: EngineOptions,
  plan: MemoryPlan,
  reader: FlashReader,
  planner: ReadPlanner,
  kernels: KernelSet,
): Record<string, string> {
  const { manifest } = parts.bundle;
  const { backend, directIo, note } = reader.capabilities;
  const share = (flags: readonly boolean[]): string => `${flags.filter(Boolean).length}/${flags.length}`;
  const slots = plan.slotCountByLayer.reduce((total, count) => total + count, 0);
  const pinned = plan.pinnedCountByLayer.reduce((total, count) => total + count, 0);
  const neurons = manifest.layers.reduce((total, layer) => total + layer.neuronCount, 0);
  const predictorFlags =
    plan.predictorBlockResident.length > 0
      ? { "predictor resident": `${share(plan.predictorBlockResident)} layers` }
      : {};
  // Bundles of made-up checkpoints say so in their source's name; runs of them must not be mistaken for a model's.
  const synthetic = manifest.source.name.endsWith("(synthetic)");
  return {
    ...(synthetic ? { weights: "synthetic, random" } : {}),
    kernels: `${kernels.target} x${kernels.threadCount}${kernels.note ? ` (${kernels.note})` : ""}`,
    reader: `${backend} ${directIo ? "direct" : "buffered"}${note ? ` (${note})` : ""}`,
    planner: planner.basis,
    sparsity: `${parts.predictor.name} ${parts.predictor.lossless ? "lossless" : "lossy"}`,
    dtype: `${manifest.dtype}${manifest.residentDtype ? `, residents ${manifest.residentDtype}` : ""}${manifest.lossy.length > 0 ? " requantised" : ""}`,
    cache: parts.cache.name,
    ...(parts.predictor.dense ? {} : { "look-ahead": parts.predictor.lookAhead ? "on" : "off" }),
    "attention resident": `${share(plan.layerBlockResident)} layers`,
    ...predictorFlags,
    ...(plan.headResident ? {} : { head: "streamed" }),
    ...(plan.windowTokens === null ? {} : { window: `${plan.windowTokens} tokens fit` }),
    pinned: `${((100 * pinned) / Math.max(1, slots)).toFixed(0)}% of slots`,
    "neurons resident": `${((100 * slots) / neurons).toFixed(0)}%`,
    context: String(plan.contextLength),
    dots: options.precision ?? "f32",
    "kv cache": plan.cacheDtype,
    checksums: options.verify ?? "first",
  };
}

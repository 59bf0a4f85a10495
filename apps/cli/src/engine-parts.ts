import { type BundleIndex, FlashlmError, type ModelDemand, type PredictorPart } from "@flashlm/contracts";
import { createReadPlanner, ENGINE_AWAKE_US } from "@flashlm/flash-io";
import { kernelOverheadBytes, loadKernels } from "@flashlm/kernels";
import { parseSparsity } from "@flashlm/predictor";
import { createSampler, type EngineOptions, type EngineParts } from "@flashlm/runtime";
import { parseCache } from "@flashlm/window-cache";
import { profileOfReader } from "./device-store.js";
import { followSampler } from "./follow-sampler.js";
import type { EngineFlags } from "./options.js";
import { readerFactory } from "./readers.js";
import { parseTokens } from "./tokens-option.js";

/** Flags and numbers that cross to the engine's thread; plain data. */
export interface EngineSetup {
  readonly flags: EngineFlags;
  readonly bundlePath: string;
  readonly memoryBytes: number;
  readonly contextNeeded: number;
  readonly threadCount: number;
  /** Of the predictor of `flags`, where it has been measured. */
  readonly demand: ModelDemand | null;
  readonly stop: SharedArrayBuffer;
  /** The smaller model that guesses tokens, and how many at once. */
  readonly draft?: { readonly setup: EngineSetup; readonly tokens: number };
}

/** Whether the bundle has look-ahead heads, and the predictor of `--sparsity` can go with them. */
export function canLookAhead(bundle: BundleIndex, sparsity: string): boolean {
  const hasHeads = (bundle.manifest.heads?.lookahead.length ?? 0) > 0;
  return hasHeads && parseSparsity(sparsity, { lookAhead: true }).lookAhead === true;
}

/** The predictor of `--sparsity`. With look-ahead where that is asked for, or left open and possible: `settleLookAhead` decides by forecast before. */
export function choosePredictor(
  bundle: BundleIndex,
  { sparsity, lookAhead }: Pick<EngineFlags, "sparsity" | "lookAhead">,
): PredictorPart {
  const part = parseSparsity(sparsity, {
    lookAhead: lookAhead === "on" || (lookAhead === "auto" && canLookAhead(bundle, sparsity)),
  });
  if (lookAhead === "on" && !part.lookAhead)
    throw new FlashlmError(
      "ENGINE_OPTION",
      `Expected a predictor that guesses the next layer for --look-ahead on but --sparsity is ${sparsity}. Use lookahead or lowrank.`,
      { sparsity },
    );
  return part;
}

/** The one place that joins concrete parts. */
export function composeParts(bundle: BundleIndex, flags: EngineFlags): EngineParts {
  const predictor = choosePredictor(bundle, flags);
  return {
    bundle,
    // Whoever waits for an engine's files can do nothing else.
    openReader: readerFactory(flags.reader, ENGINE_AWAKE_US),
    createPlanner: (choice, reader) => {
      const profile = profileOfReader(reader);
      if (profile === null) return createReadPlanner(choice);
      const { inFlightMax } = reader.capabilities;
      return createReadPlanner({ alignmentBytes: choice.alignmentBytes, inFlightMax, profile });
    },
    // The mode line says what was passed over and why.
    createKernels: (options) => loadKernels({ target: flags.kernels, ...options, onFallback: () => {} }),
    kernelOverheadBytes,
    // "auto" is the slot map, which moves no bytes (docs/decisions/0003-cache-default.md).
    cache: parseCache(flags.cache, { hasScores: !predictor.dense }).part,
    predictor,
    createSampler: flags.follow ? followSampler(parseTokens(flags.follow), createSampler) : createSampler,
  };
}

/** Engine options of a setup, without the parts that only the engine's thread has. */
export function engineOptions(setup: EngineSetup): EngineOptions {
  const { flags } = setup;
  return {
    memoryBytes: setup.memoryBytes,
    contextLength: flags.context ?? null,
    contextNeeded: setup.contextNeeded,
    threadCount: setup.threadCount,
    verify: flags.verify,
    precision: flags.dots,
    demand: setup.demand,
    pinnedShare: parseCache(flags.cache).pinnedShare,
    ...(setup.draft ? { draftTokens: setup.draft.tokens } : {}),
    ...(flags.kvCache === "auto" ? {} : { cacheDtype: flags.kvCache }),
    ...(flags.promptChunk ? { promptChunkTokens: flags.promptChunk } : {}),
    ...(flags.cacheWindow ? { windowTokens: flags.cacheWindow } : {}),
  };
}

import type {
  BundleIndex,
  CacheDtype,
  CachePart,
  DotPrecision,
  FlashReader,
  KernelSet,
  KernelSetOptions,
  MetricsSink,
  ModelDemand,
  PredictorPart,
  ReadPlanner,
  SamplingOptions,
  TokenId,
} from "@flashlm/contracts";
import type { Flight } from "./flight.js";

/** Draws the next token from logits. The runtime's own is `createSampler`; another may be given. */
export interface TokenSampler {
  /**
   * The next token.
   *
   * @param logits - f32 `[vocabularySize]`, borrowed; may be overwritten.
   * @param recentTokens - the last tokens of the sequence, oldest first.
   */
  next(logits: Float32Array, recentTokens: readonly number[]): TokenId;
  /** Writes the probability of each token under the same filters, `[vocabularySize]`. Needed for speculation, which {@link next} is not. */
  weigh?(logits: Float32Array, recentTokens: readonly number[], target: Float32Array | Float64Array): void;
}

/** What the working memory of a kernel set depends on. */
export interface KernelNeeds extends Pick<KernelSetOptions, "threadCount" | "columnCountMax"> {
  /** Size of the whole set, where it is known. */
  readonly memoryBytes?: number;
}

/** The parts an engine is made of. The runtime knows their contracts only. */
export interface EngineParts {
  readonly bundle: BundleIndex;
  /** Opens the bundle's files, in order. The engine closes the reader. */
  openReader(paths: readonly string[]): Promise<FlashReader>;
  /**
   * Plans requests for a reader with that alignment. `gapBytesMax` (read in vain between two records) and `readBytesMax` (at once) suit a
   * device of which nothing is known; who knows `reader`'s device may choose others.
   */
  createPlanner(
    options: {
      readonly alignmentBytes: number;
      readonly gapBytesMax: number;
      readonly readBytesMax: number;
    },
    reader: FlashReader,
  ): ReadPlanner;
  /** Makes the kernels with their arena; called once. The engine closes them. @throws KERNEL_*. */
  createKernels(options: KernelSetOptions): Promise<KernelSet>;
  /** Bytes a kernel set of that size needs beyond what is allocated in it. */
  kernelOverheadBytes(needs: KernelNeeds): number;
  readonly cache: CachePart;
  readonly predictor: PredictorPart;
  /** Makes the sampler of one generation. @throws ENGINE_OPTION for options out of range. */
  createSampler(options: SamplingOptions, vocabularySize: number): TokenSampler;
}

/** How an engine is set up. */
export interface EngineOptions {
  /** Bytes for weights, caches and scratch (the process's own overhead is not in it); Infinity keeps everything resident. */
  readonly memoryBytes: number;
  /** Context length in tokens; null lets the plan choose, at least `contextNeeded`. */
  readonly contextLength: number | null;
  readonly contextNeeded?: number;
  readonly threadCount: number;
  /** Most prompt tokens that go through the layers together. Does not change answers. */
  readonly promptChunkTokens?: number;
  /** Tokens whose neurons stay cached (paper section 3.1; the paper uses 4 to 5); absent takes what the slots hold, where `demand` says so. */
  readonly windowTokens?: number;
  /** What this predictor was measured to ask of the layers, which says how slots are divided among them and how long a window they hold. Does not change answers. */
  readonly demand?: ModelDemand | null;
  /** Share of each layer's slots that its first (hottest) neurons keep for good; null or absent chooses. Does not change answers. */
  readonly pinnedShare?: number | null;
  /** What keys and values are kept in; the default is f32 for bundles of f32, otherwise f16. */
  readonly cacheDtype?: CacheDtype;
  /** Arithmetic of dot products with quantised weights; the default is f32, "q8" rounds activations to int8 and is faster. */
  readonly precision?: DotPrecision;
  /** When records' checksums are checked: on their first read in a run, at every read, or never. */
  readonly verify?: "first" | "always" | "never";
  /** Most drafted tokens that are verified in one pass; 0 or absent without a draft model. Does not change answers. */
  readonly draftTokens?: number;
  /** Receives the counters of every decoded token. */
  readonly metrics?: MetricsSink;
  /** Asked between layers and between chunks of records; true stops the work with ENGINE_ABORTED. */
  readonly shouldStop?: () => boolean;
  /** Observes FFN activations (calibration). */
  readonly onActivations?: (flight: Flight, tokenCount: number, activation: Float32Array) => void;
}

/** The paper's window, for where no demand says how many tokens' neurons the slots hold. */
export const WINDOW_TOKENS = 5;

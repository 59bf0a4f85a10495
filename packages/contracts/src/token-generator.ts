import type { TokenId } from "./units.js";

/** How the next token is drawn. Greedy when temperature is 0. */
export interface SamplingOptions {
  readonly temperature: number;
  /** 0 is off. */
  readonly topK: number;
  /** 1 is off. */
  readonly topP: number;
  /** 0 is off. */
  readonly minP: number;
  /** 1 is off; applied to tokens of the last 64 positions. */
  readonly repetitionPenalty: number;
  readonly seed: number;
}

/** One generated token. */
export interface TokenEvent {
  readonly tokenId: TokenId;
  /** Position in the sequence, prompt included. */
  readonly positionIndex: number;
  readonly elapsedMs: number;
}

/** Options of one generation. */
export interface GenerateOptions {
  readonly maxTokens: number;
  readonly sampling: SamplingOptions;
  /** Tokens that end the text; not emitted. */
  readonly stopTokens: readonly TokenId[];
  readonly signal?: AbortSignal;
}

/** What speculation with a draft model did; sums since the generator was made. */
export interface SpeculationReport {
  /** Passes of the target model after the prompt. Decoded tokens over passes is what speculation gains. */
  readonly passCount: number;
  readonly proposedTokens: number;
  readonly acceptedTokens: number;
  /** Part of decodeMs that the draft took. */
  readonly draftMs: number;
  /** Part of decodeReadBytes that the draft read. */
  readonly draftReadBytes: number;
}

/** Sums since the generator was made; times in milliseconds of the engine thread. */
export interface GeneratorReport {
  readonly promptTokens: number;
  readonly promptMs: number;
  readonly decodeTokens: number;
  readonly decodeMs: number;
  /** Parts of decodeMs: waiting for reads, cache and planning, compute. */
  readonly ioWaitMs: number;
  readonly cacheMs: number;
  readonly computeMs: number;
  /** Bytes read from flash in all, when loading, and in the decode path. */
  readonly readBytes: number;
  readonly loadReadBytes: number;
  readonly decodeReadBytes: number;
  /** Records asked for and those found in slots, in decode. */
  readonly recordCount: number;
  readonly hitCount: number;
  /** Records read in decode. */
  readonly decodeRecordsRead: number;
  /** Records read over the whole run, and records there would be for dense tokens. */
  readonly recordsRead: number;
  readonly keptNeurons: number;
  readonly possibleNeurons: number;
  /** Records that were asked for a layer early (also where that is no guess), those of them that were wanted, those whose reads were given up before they began, bytes of reads that ended in vain, and how often a layer's guesses were stopped; absent without look-ahead. */
  readonly lookAhead?: {
    readonly recordCount: number;
    readonly usedCount: number;
    readonly cancelledCount: number;
    readonly wastedBytes: number;
    readonly stopCount: number;
  };
  readonly memory: readonly { readonly owner: string; readonly plannedBytes: number }[];
  /** Only with a draft model. Records, hits and kept neurons are the target's then; times, bytes and memory are those of both. */
  readonly speculation?: SpeculationReport;
}

/** Generates tokens; one generation at a time (ENGINE_BUSY). */
export interface TokenGenerator {
  readonly contractVersion: 1;
  /** What is really in use, one `key value` pair per entry, for the `mode:` line. */
  readonly mode: Readonly<Record<string, string>>;
  readonly contextLength: number;
  /** Runs the prompt and yields tokens. Leaving the loop stops the work. @throws ENGINE_CONTEXT_FULL, ENGINE_BUSY, FLASH_*, BUNDLE_CHECKSUM. */
  generate(promptTokens: readonly TokenId[], options: GenerateOptions): AsyncIterable<TokenEvent>;
  /** Logits f32 `[tokens.length, vocabularySize]` for a fresh sequence, handed over in chunks of rows: the callback borrows each. */
  evaluate(
    tokens: readonly TokenId[],
    onLogits: (rows: Float32Array, firstRow: number) => void,
  ): Promise<void>;
  /** Negative log-likelihood of each token given those before it, in nats, `[tokens.length]`; the first, which nothing precedes, is 0. */
  score(tokens: readonly TokenId[]): Promise<Float64Array>;
  /** Sums so far; may be called at any time. */
  report(): GeneratorReport;
  /** Ends the engine and frees its memory; idempotent. */
  close(): Promise<void>;
}

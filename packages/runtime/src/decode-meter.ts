import type { MetricsSink } from "@flashlm/contracts";
import type { Machine } from "./assemble.js";

/** What decoding has used so far. */
export interface DecodeTotals {
  tokenCount: number;
  tokenMs: number;
  waitMs: number;
  manageMs: number;
  readBytes: number;
  recordsRead: number;
  hitCount: number;
  missCount: number;
}

const ZERO: DecodeTotals = {
  tokenCount: 0,
  tokenMs: 0,
  waitMs: 0,
  manageMs: 0,
  readBytes: 0,
  recordsRead: 0,
  hitCount: 0,
  missCount: 0,
};

/** Records read so far, early and late. */
export function recordsReadOf({ records, lookAhead }: Pick<Machine, "records" | "lookAhead">): number {
  return records.recordsRead + (lookAhead?.recordsRead ?? 0);
}

/** Adds up what decoded tokens cost, apart from prompts, and tells a sink. */
export class DecodeMeter {
  readonly #machine: Machine;
  readonly #sink: MetricsSink | undefined;
  readonly totals: DecodeTotals = { ...ZERO };

  constructor(machine: Machine, sink: MetricsSink | undefined) {
    this.#machine = machine;
    this.#sink = sink;
  }

  /** Runs some decoding, which says how many tokens it gave, and counts it. */
  async measure(decode: () => Promise<number>): Promise<void> {
    const before = this.#sample();
    const tokenCount = await decode();
    const after = { ...this.#sample(), tokenCount: before.tokenCount + tokenCount };
    const cost = { ...ZERO };
    for (const name of Object.keys(cost) as (keyof DecodeTotals)[]) {
      cost[name] = after[name] - before[name];
      this.totals[name] += cost[name];
    }
    this.#tell(cost);
  }

  #sample(): DecodeTotals {
    const { records, lookAhead, residency, reader, cache } = this.#machine;
    const { hitCount, missCount } = cache.stats();
    return {
      tokenCount: this.totals.tokenCount,
      tokenMs: performance.now(),
      waitMs: records.waitMs + residency.waitMs + (lookAhead?.waitMs ?? 0),
      manageMs: records.manageMs + (lookAhead?.manageMs ?? 0),
      readBytes: reader.stats().readBytes,
      recordsRead: recordsReadOf(this.#machine),
      hitCount,
      missCount,
    };
  }

  #tell(cost: DecodeTotals): void {
    const sink = this.#sink;
    if (!sink) return;
    sink.count("decode.token_count", cost.tokenCount);
    sink.count("decode.token_ms", cost.tokenMs);
    sink.count("flash.read_bytes", cost.readBytes);
    sink.count("flash.wait_ms", cost.waitMs);
    sink.count("cache.hit_count", cost.hitCount);
    sink.count("cache.miss_count", cost.missCount);
    sink.count("cache.manage_ms", cost.manageMs);
    sink.count("compute.ms", cost.tokenMs - cost.waitMs - cost.manageMs);
  }
}

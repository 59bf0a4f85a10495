/** Every counter of flashlm. Names end in their unit. */
export const METRIC_NAMES = [
  "flash.read_bytes",
  "flash.wait_ms",
  "cache.hit_count",
  "cache.miss_count",
  "cache.manage_ms",
  "compute.ms",
  "decode.token_count",
  "decode.token_ms",
] as const;

/** One of {@link METRIC_NAMES}. */
export type MetricName = (typeof METRIC_NAMES)[number];

/** Receives counters; passed in, never global. Must not throw or block. */
export interface MetricsSink {
  /** Adds `amount`, in the unit that the name ends in. */
  count(name: MetricName, amount: number): void;
}

import { type KernelOp, rowBytes } from "@flashlm/contracts";
import type { Bench } from "./bench.js";
import { addressOf } from "./jobs.js";
import type { Segments } from "./segments.js";
import { fitsBench, type Job, type Operand, runJob } from "./staging.js";

type OpOf<Name extends KernelOp["op"]> = Extract<KernelOp, { op: Name }>;

/** One of the two caches: the op writes both, so it is given the same rows twice where they lie apart. */
function storeJob(op: OpOf<"storeKeyValue">, position: number, keys: number, cache: number): Job {
  const keyBytes = op.keyValueDim * 4;
  const cacheRowBytes = rowBytes(op.cacheDtype ?? "f32", op.keyValueDim);
  return {
    operands: {
      keys: { address: keys, rowBytes: keyBytes, use: "read" },
      cache: { address: cache, rowBytes: cacheRowBytes, rowCount: op.capacityTokens, use: "update" },
    },
    words: (firstToken) => ({ position: position + firstToken }),
    op: (places) => ({
      ...op,
      position: places.position!,
      keys: places.keys!,
      values: places.keys!,
      keyCache: places.cache!,
      valueCache: places.cache!,
    }),
  };
}

/** Stores keys, then values, each in the memory of its cache. */
export function storeKeyValue(op: OpOf<"storeKeyValue">, bench: Bench, tokenCount: number): void {
  const position = bench.segments.word(op.position.offsetBytes);
  runJob(bench, storeJob(op, position, op.keys.offsetBytes, op.keyCache.offsetBytes), tokenCount);
  runJob(bench, storeJob(op, position, op.values.offsetBytes, op.valueCache.offsetBytes), tokenCount);
}

/** Some heads that share key-value heads, and the rows of the caches that they see. */
interface Heads {
  readonly first: number;
  readonly count: number;
  readonly keyValueFirst: number;
  readonly keyValueCount: number;
  readonly rowCount: number;
}

function attentionJob(op: OpOf<"attention">, segments: Segments, position: number, heads: Heads): Job {
  const { headDim, cacheDtype = "f32" } = op;
  const tokens = ({ offsetBytes }: { offsetBytes: number }, use: "read" | "write"): Operand => ({
    address: offsetBytes + heads.first * headDim * 4,
    rowBytes: heads.count * headDim * 4,
    pitchBytes: op.headCount * headDim * 4,
    use,
  });
  const cache = ({ offsetBytes }: { offsetBytes: number }): Operand => ({
    address: offsetBytes + rowBytes(cacheDtype, heads.keyValueFirst * headDim),
    rowBytes: rowBytes(cacheDtype, heads.keyValueCount * headDim),
    pitchBytes: rowBytes(cacheDtype, op.keyValueHeadCount * headDim),
    rowCount: heads.rowCount,
    use: "read",
  });
  const perHead = (name: "alibiSlopes" | "sinks"): Record<string, Operand> => {
    const base = op[name];
    if (base === undefined) return {};
    const address = addressOf(segments, base) + heads.first * 4;
    return { [name]: { address, rowBytes: heads.count * 4, rowCount: 1, use: "read" } };
  };
  return {
    operands: {
      query: tokens(op.query, "read"),
      target: tokens(op.target, "write"),
      keyCache: cache(op.keyCache),
      valueCache: cache(op.valueCache),
      ...perHead("alibiSlopes"),
      ...perHead("sinks"),
    },
    words: (firstToken) => ({ position: position + firstToken }),
    op: (places) => ({
      ...op,
      headCount: heads.count,
      keyValueHeadCount: heads.keyValueCount,
      position: places.position!,
      query: places.query!,
      target: places.target!,
      keyCache: places.keyCache!,
      valueCache: places.valueCache!,
      ...(places.alibiSlopes ? { alibiSlopes: places.alibiSlopes } : {}),
      ...(places.sinks ? { sinks: places.sinks } : {}),
    }),
  };
}

/** All heads at once where the caches lie together or are small; else one key-value head after the other. */
export function attention(op: OpOf<"attention">, bench: Bench, tokenCount: number): void {
  const { segments } = bench;
  const position = segments.word(op.position.offsetBytes);
  // Rows behind the last token's hold nothing yet.
  const rowCount = Math.min(op.capacityTokens, position + tokenCount);
  const { headCount, keyValueHeadCount } = op;
  const all = { first: 0, count: headCount, keyValueFirst: 0, keyValueCount: keyValueHeadCount, rowCount };
  const whole = attentionJob(op, segments, position, all);
  if (fitsBench(bench, whole)) {
    runJob(bench, whole, tokenCount);
    return;
  }
  const count = headCount / keyValueHeadCount;
  for (let keyValueFirst = 0; keyValueFirst < keyValueHeadCount; keyValueFirst++) {
    const heads = { first: keyValueFirst * count, count, keyValueFirst, keyValueCount: 1, rowCount };
    runJob(bench, attentionJob(op, segments, position, heads), tokenCount);
  }
}

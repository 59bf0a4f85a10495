// Ops beside the big matrices: attention, norms, rotations, scores, checksums, conversions, vector ops.
import { rowBytes } from "@flashlm/contracts";
import { copyCount, OUT_OF_CACHE_BYTES, rotating } from "./cycled.mjs";
import { fillWeights, randomFloats, word } from "./weights.mjs";

const CONTEXT = 1024;

/** What `ops` reads is allocated anew until it is `cycledBytes`; a run reads one copy. None: what vectors are read from, caches hold in a model too. */
function simpleCase(name, { bytes, flops, setBytes, ops, cycledBytes = 0 }) {
  const copies = copyCount(bytes, cycledBytes);
  return {
    name,
    bytes,
    flops,
    setBytes: copies * (setBytes + 4096) + 65536,
    prepare(set) {
      return rotating(
        set,
        Array.from({ length: copies }, () => set.compile(ops(set))),
      );
    },
  };
}

function attentionCase(cacheDtype, { hidden, keyValue, heads, keyValueHeads }, cycledBytes) {
  const headDim = hidden / heads;
  const cacheBytes = rowBytes(cacheDtype, keyValue) * CONTEXT;
  return simpleCase(`attention ${cacheDtype} over ${CONTEXT} positions`, {
    bytes: 2 * cacheBytes,
    cycledBytes,
    flops: 4 * hidden * CONTEXT,
    setBytes: 2 * cacheBytes + 8 * hidden,
    ops(set) {
      const [keyCache, valueCache] = [0, 1].map(() => {
        const handle = set.memory.allocate(cacheBytes);
        fillWeights(cacheDtype, set.memory.bytes(handle, cacheBytes));
        return handle;
      });
      const counts = {
        headCount: heads,
        keyValueHeadCount: keyValueHeads,
        headDim,
        scale: 0.1,
        window: null,
      };
      const words = { tokenCount: word(set, 1), position: word(set, CONTEXT - 1) };
      const places = { query: randomFloats(set, hidden), target: set.memory.allocate(hidden * 4) };
      const cache = { keyCache, valueCache, capacityTokens: CONTEXT, cacheDtype };
      return [{ op: "attention", ...words, ...places, ...counts, ...cache }];
    },
  });
}

function scoresCase(precision, { hidden, neurons }, cycledBytes) {
  const bytes = 2 * neurons * rowBytes("q4_0", hidden);
  return simpleCase(`neuron scores q4_0${precision === "q8" ? "/q8" : ""}`, {
    bytes,
    cycledBytes,
    flops: 4 * neurons * hidden,
    setBytes: bytes + 16 * neurons + 8 * hidden,
    ops(set) {
      const [gate, up] = [0, 1].map(() => {
        const base = set.memory.allocate(bytes / 2);
        fillWeights("q4_0", set.memory.bytes(base, bytes / 2));
        return { dtype: "q4_0", rowCount: neurons, columnCount: hidden, base };
      });
      const head = {
        op: "neuronScores",
        precision,
        kind: "contribution",
        tokenCount: word(set, 1),
        gate,
        up,
      };
      const act = { activationFn: { name: "silu", threshold: 0 }, upActivation: "none" };
      const places = { downNorm: randomFloats(set, neurons), source: randomFloats(set, hidden) };
      return [{ ...head, ...act, ...places, scores: set.memory.allocate(neurons * 4) }];
    },
  });
}

function crcCase({ hidden, neurons }, cycledBytes) {
  const lengthBytes = Math.ceil((hidden * 4) / 512) * 512;
  const count = Math.min(neurons, 4096);
  return simpleCase(`crc32c of ${count} records`, {
    bytes: lengthBytes * count,
    cycledBytes,
    flops: 0,
    setBytes: lengthBytes * count + 16 * count,
    ops(set) {
      const base = set.memory.allocate(lengthBytes * count, 4096);
      const list = (values) => {
        const handle = set.memory.allocate(count * 4);
        set.memory.words(handle, count).set(values);
        return handle;
      };
      const index = Array.from({ length: count }, (_, i) => i);
      const addresses = list(index.map((i) => (base.offsetBytes + i * lengthBytes) / 16));
      const range = { order: list(index), orderBegin: word(set, 0), orderEnd: word(set, count) };
      return [{ op: "crc32c", addresses, ...range, lengthBytes, checksums: list(index) }];
    },
  });
}

function vectorCases({ hidden, neurons, keyValue, heads }) {
  const dim = neurons * 4;
  const one = (set) => word(set, 1);
  const vector = (name, opsOf, bytes) =>
    simpleCase(name, {
      bytes,
      flops: 0,
      setBytes: 16 * (hidden + keyValue + dim) * 4,
      ops: (set) => [opsOf(set, randomFloats(set, dim), randomFloats(set, dim))],
    });
  return [
    vector(
      `norm of ${hidden}`,
      (set, source, target) => ({
        ...{ op: "norm", kind: "rms", tokenCount: one(set), rowsPerToken: 1, dim: hidden, epsilon: 1e-5 },
        ...{ source, target, weight: randomFloats(set, hidden) },
      }),
      12 * hidden,
    ),
    vector(
      `rope of ${heads} heads`,
      (set, source, target) => ({
        ...{ op: "rope", tokenCount: one(set), position: word(set, 0), vector: target, headCount: heads },
        ...{ headDim: hidden / heads, rotaryDim: hidden / heads, table: source },
      }),
      8 * hidden,
    ),
    ...["add", "copy"].map((op) =>
      vector(
        `${op} of ${dim}`,
        (set, source, target) => ({ op, tokenCount: one(set), dim, scale: 1, source, target }),
        8 * dim,
      ),
    ),
    vector(
      `softmax of ${dim}`,
      (set, source) => ({ op: "softmax", tokenCount: one(set), dim, temperature: 1, vector: source }),
      8 * dim,
    ),
    vector(
      `soft cap of ${dim}`,
      (set, source) => ({ op: "softCap", tokenCount: one(set), dim, cap: 30, vector: source }),
      8 * dim,
    ),
    vector(
      `argmax of ${dim}`,
      (set, source) => ({ op: "argmax", tokenCount: one(set), dim, source, target: one(set) }),
      4 * dim,
    ),
    ...["f16", "bf16", "q8_0", "q4_0", "q4_1"].map((targetDtype) =>
      vector(
        `convert f32 to ${targetDtype}, ${dim}`,
        (set, source, target) => ({
          // Rows may be as long as a matrix's, not longer.
          ...{
            op: "convert",
            tokenCount: word(set, dim / neurons),
            dim: neurons,
            sourceDtype: "f32",
            targetDtype,
            source,
            target,
          },
        }),
        4 * dim + rowBytes(targetDtype, dim),
      ),
    ),
  ];
}

/** The ops of a shape that are not matrix products or the FFN. What they read of weights, records and the key/value cache is `cycledBytes`. */
export function otherCases(shape, { cycledBytes = OUT_OF_CACHE_BYTES } = {}) {
  return [
    ...["f32", "f16", "q8_0"].map((dtype) => attentionCase(dtype, shape, cycledBytes)),
    ...["f32", "q8"].map((precision) => scoresCase(precision, shape, cycledBytes)),
    crcCase(shape, cycledBytes),
    ...vectorCases(shape),
  ];
}

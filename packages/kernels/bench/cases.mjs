// What benchmarks and proofs run: `{ name, bytes, flops, setBytes, prepare(set) -> run() }`.
import { rowBytes } from "@flashlm/contracts";
import { copyCount, OUT_OF_CACHE_BYTES, rotating } from "./cycled.mjs";
import { fillWeights, randomFloats, recordLayout, word } from "./weights.mjs";

/** Matrix times `tokens` vectors. One vector's weights are copied until they are `cycledBytes`. */
export function matmulCase({
  dtype,
  rows,
  columns,
  tokens = 1,
  precision = "f32",
  cycledBytes = OUT_OF_CACHE_BYTES,
}) {
  const bytes = rows * rowBytes(dtype, columns);
  const copies = tokens > 1 ? 1 : copyCount(bytes, cycledBytes);
  return {
    name: `matmul ${dtype}${precision === "q8" ? "/q8" : ""} ${rows}x${columns} T=${tokens}`,
    bytes,
    flops: 2 * rows * columns * tokens,
    setBytes: copies * (bytes + 64) + tokens * (rows + columns) * 4 + 4096,
    prepare(set) {
      const tokenCount = word(set, tokens);
      const source = randomFloats(set, tokens * columns);
      const target = set.memory.allocate(tokens * rows * 4);
      const pattern = new Uint8Array(bytes);
      fillWeights(dtype, pattern);
      const programs = Array.from({ length: copies }, () => {
        const base = set.memory.allocate(bytes);
        set.memory.bytes(base, bytes).set(pattern);
        const weight = { dtype, rowCount: rows, columnCount: columns, base };
        return set.compile([
          { op: "matmul", precision, tokenCount, weight, source, target, accumulate: false },
        ]);
      });
      return rotating(set, programs);
    },
  };
}

/** Every index below `count`, shuffled. */
function shuffled(count) {
  const list = Uint32Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1; i > 0; i--) {
    const j = Math.floor(Math.random() * (i + 1));
    [list[i], list[j]] = [list[j], list[i]];
  }
  return list;
}

/**
 * FFN activations and down projection over `share` of a layer's records in random slots, others each run, of layers that are `cycledBytes` in all. Biases
 * keep every activation above zero, so that every record named is read whole.
 */
export function sparseFfnCase({
  name,
  dtypes,
  hidden,
  neurons,
  share,
  precision = "f32",
  cycledBytes = OUT_OF_CACHE_BYTES,
}) {
  const layout = recordLayout(hidden, dtypes);
  const count = Math.round(neurons * share);
  const layerCount = copyCount(neurons * layout.strideBytes, cycledBytes);
  const listsPerLayer = Math.max(1, Math.floor(neurons / count));
  const touched = layout.parts.reduce((sum, part) => sum + part.lengthBytes, 0) * count;
  return {
    name: `sparse FFN ${name} ${layout.parts[0].dtype}${precision === "q8" ? "/q8" : ""}, ${count} records`,
    bytes: touched,
    flops: 2 * hidden * layout.parts.length * count,
    setBytes: layerCount * neurons * (layout.strideBytes + 64) + 32 * hidden + 65536,
    prepare(set) {
      const { memory } = set;
      const base = memory.allocate(layerCount * neurons * layout.strideBytes, 4096);
      fillRecords(set, layout, base, layerCount * neurons);
      const slots = Array.from({ length: layerCount }, () => shuffled(neurons));
      const identity = memory.allocate(count * 4);
      memory.words(identity, count).set(Uint32Array.from({ length: count }, (_, i) => i));
      const activation = memory.allocate(count * 4);
      const shared = { tokenCount: word(set, 1), layout, activation, activationStride: count };
      const ones = memory.allocate(count * 4);
      memory.floats(ones, count).fill(1000);
      const source = randomFloats(set, hidden);
      const target = randomFloats(set, hidden);
      const range = { orderBegin: word(set, 0), orderEnd: word(set, count) };
      const gated = layout.parts.length === 3;
      const programs = Array.from({ length: layerCount * listsPerLayer }, (_, turn) => {
        const addresses = memory.allocate(count * 4);
        const [layer, list] = [turn % layerCount, Math.floor(turn / layerCount)];
        const chosen = slots[layer].slice(list * count, (list + 1) * count).sort();
        const unit = (slot) => (base.offsetBytes + (layer * neurons + slot) * layout.strideBytes) / 16;
        memory.words(addresses, count).set(chosen.map(unit));
        return set.compile([
          {
            op: "ffnActivations",
            precision,
            ...shared,
            activationFn: { name: "relu", threshold: 0 },
            upActivation: "none",
            addresses,
            ids: identity,
            order: identity,
            ...range,
            source,
            ...(gated ? { gateBias: ones } : { upBias: ones }),
          },
          { op: "ffnDown", ...shared, addresses, positionCount: range.orderEnd, target },
        ]);
      });
      return rotating(set, programs);
    },
  };
}

function fillRecords(set, layout, base, neurons) {
  for (const { dtype, offsetBytes, lengthBytes } of layout.parts) {
    const pattern = new Uint8Array(lengthBytes);
    fillWeights(dtype, pattern);
    for (let i = 0; i < neurons; i++) {
      const place = { arenaId: 0, offsetBytes: base.offsetBytes + i * layout.strideBytes + offsetBytes };
      set.memory.bytes(place, lengthBytes).set(pattern);
    }
  }
}

/** The plain loop that reads memory, of a native set. */
export function readCase(lengthBytes = OUT_OF_CACHE_BYTES) {
  return {
    name: "read memory",
    bytes: lengthBytes,
    flops: 0,
    setBytes: lengthBytes + 4096,
    prepare(set) {
      const { offsetBytes } = set.memory.allocate(lengthBytes, 4096);
      // A host view holds at most 4 GiB.
      for (let done = 0; done < lengthBytes; done += 2 ** 30) {
        const part = { arenaId: 0, offsetBytes: offsetBytes + done };
        set.memory.bytes(part, Math.min(2 ** 30, lengthBytes - done)).fill(1);
      }
      return () => set.readRange(offsetBytes, lengthBytes);
    },
  };
}

/** Fused multiply-adds on registers, of a native set: what the cores can do at most. */
export function peakCase() {
  const count = 24_000_000;
  const result = {
    name: "multiply-add peak",
    bytes: 0,
    flops: 0,
    setBytes: 0,
    prepare(set) {
      return () => {
        result.flops = set.multiplyAdd(count) * set.threadCount;
      };
    },
  };
  return result;
}

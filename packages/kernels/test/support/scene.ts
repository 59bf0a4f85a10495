import {
  type KernelOp,
  type KernelSet,
  type MemoryHandle,
  type RecordLayout,
  rowBytes,
  type WeightDtype,
} from "@flashlm/contracts";
import { createPrng } from "@flashlm/contracts/testing";

export const TOKENS = 40;
const HIDDEN = 64;
const NEURONS = 600;
const VOCABULARY = 9000;
const HEADS = 8;
const KEY_VALUE_HEADS = 4;
const HEAD_DIM = 32;
const CAPACITY = 240;
const POSITION = 230;

/** Operands of every kind in a set, the same values in every set, and a program that uses every op. */
export interface Scene {
  readonly ops: readonly KernelOp[];
  /** Bits of everything that the ops write. */
  results(): Uint32Array[];
}

/** Allocates and fills operands, each in an allocation of its own. */
class Maker {
  readonly random: () => number = createPrng(7);
  constructor(readonly set: KernelSet) {}

  word(value: number): MemoryHandle {
    return this.list([value]);
  }

  list(values: readonly number[]): MemoryHandle {
    const handle = this.set.memory.allocate(values.length * 4);
    this.set.memory.words(handle, values.length).set(values);
    return handle;
  }

  floats(count: number): MemoryHandle {
    const handle = this.set.memory.allocate(count * 4);
    const values = this.set.memory.floats(handle, count);
    for (let i = 0; i < count; i++) values[i] = this.random() - 0.5;
    return handle;
  }

  /** Weights between 0.01 and 2 in size; the top byte of a number or a scale holds most of the exponent. */
  weights(dtype: WeightDtype, count: number): MemoryHandle {
    const lengthBytes = rowBytes(dtype, count);
    const handle = this.set.memory.allocate(lengthBytes, 64);
    const bytes = this.set.memory.bytes(handle, lengthBytes);
    const step = dtype === "q4_0" ? 18 : 2;
    for (let i = 0; i < bytes.length; i++) bytes[i] = this.random() * 256;
    for (let i = 1; i < bytes.length; i += step) bytes[i] = 0x38 | (this.random() < 0.5 ? 128 : 0);
    return handle;
  }

  /** The same place through an address word. */
  moving(handle: MemoryHandle): { addressWord: MemoryHandle; offsetBytes: number } {
    return { addressWord: this.word((handle.offsetBytes - 32) / 16), offsetBytes: 32 };
  }
}

function attentionOps(make: Maker, tokenCount: MemoryHandle, target: MemoryHandle): KernelOp[] {
  const keyValueDim = KEY_VALUE_HEADS * HEAD_DIM;
  const query = make.floats(TOKENS * HEADS * HEAD_DIM);
  const position = make.word(POSITION);
  const cache = {
    tokenCount,
    position,
    cacheDtype: "f16",
    keyCache: make.weights("f16", CAPACITY * keyValueDim),
    valueCache: make.weights("f16", CAPACITY * keyValueDim),
    capacityTokens: CAPACITY,
  } as const;
  const heads = { headCount: HEADS, headDim: HEAD_DIM };
  const table = make.floats((POSITION + TOKENS) * HEAD_DIM);
  return [
    { op: "rope", tokenCount, position, vector: query, ...heads, rotaryDim: HEAD_DIM, table },
    {
      op: "storeKeyValue",
      ...cache,
      keys: make.floats(TOKENS * keyValueDim),
      values: make.floats(TOKENS * keyValueDim),
      keyValueDim,
    },
    {
      op: "attention",
      ...cache,
      ...heads,
      query,
      target,
      keyValueHeadCount: KEY_VALUE_HEADS,
      scale: 0.2,
      window: 200,
      sinks: make.floats(HEADS),
      alibiSlopes: make.moving(make.floats(HEADS)),
    },
  ];
}

function recordOps(make: Maker, tokenCount: MemoryHandle, source: MemoryHandle): [KernelOp[], Place[]] {
  const parts = (["gate", "up", "down"] as const).map((part, i) => ({
    part,
    dtype: "f16" as const,
    lengthBytes: HIDDEN * 2,
    offsetBytes: HIDDEN * 2 * i,
  }));
  const layout: RecordLayout = { hiddenSize: HIDDEN, strideBytes: HIDDEN * 6, parts };
  const records = Array.from({ length: NEURONS }, () => make.weights("f16", HIDDEN * 3));
  const addresses = make.list(records.map(({ offsetBytes }) => offsetBytes / 16));
  const range = {
    addresses,
    order: make.list(Array.from({ length: NEURONS }, (_, i) => (i * 7) % NEURONS)),
    orderBegin: make.word(3),
    orderEnd: make.word(NEURONS),
  };
  const activation = make.floats(TOKENS * NEURONS);
  const target = make.floats(TOKENS * HIDDEN);
  const checksums = make.list(Array.from({ length: NEURONS }, () => 0));
  const mask = make.set.memory.allocate(TOKENS * NEURONS);
  const bytes = make.set.memory.bytes(mask, TOKENS * NEURONS);
  for (let i = 0; i < bytes.length; i++) bytes[i] = make.random() < 0.7 ? 1 : 0;
  const ffn = { tokenCount, layout, addresses, activation, activationStride: NEURONS } as const;
  const ops: KernelOp[] = [
    {
      op: "ffnActivations",
      ...ffn,
      ...range,
      ids: make.list(Array.from({ length: NEURONS }, (_, i) => NEURONS - 1 - i)),
      activationFn: { name: "relu", threshold: 0 },
      upActivation: "none",
      source,
      mask: { base: mask, stride: NEURONS },
      gateBias: make.floats(NEURONS),
      upBias: make.moving(make.floats(NEURONS)),
    },
    { op: "ffnDown", ...ffn, positionCount: make.word(NEURONS), target, bias: make.floats(HIDDEN) },
    { op: "crc32c", ...range, lengthBytes: HIDDEN * 6, checksums },
  ];
  const written = [
    { handle: activation, count: TOKENS * NEURONS },
    { handle: target, count: TOKENS * HIDDEN },
    { handle: checksums, count: NEURONS },
  ];
  return [ops, written];
}

interface Place {
  readonly handle: MemoryHandle;
  readonly count: number;
}

function matrixOps(
  make: Maker,
  tokenCount: MemoryHandle,
  source: MemoryHandle,
  logits: MemoryHandle,
): KernelOp[] {
  const matrix = (dtype: WeightDtype, rowCount: number) =>
    ({
      dtype,
      rowCount,
      columnCount: HIDDEN,
      base: make.moving(make.weights(dtype, rowCount * HIDDEN)),
    }) as const;
  const few = make.word(3);
  const chosen = make.list([0, 0, 0]);
  return [
    {
      op: "gatherRows",
      tokenCount,
      table: matrix("f16", 400),
      rowIds: make.list(Array.from({ length: TOKENS }, (_, i) => (i * 13) % 400)),
      target: source,
      accumulate: true,
    },
    {
      op: "norm",
      kind: "layer",
      tokenCount,
      rowsPerToken: 2,
      dim: HIDDEN / 2,
      epsilon: 1e-5,
      source,
      target: source,
      weight: make.moving(make.floats(HIDDEN / 2)),
      bias: make.floats(HIDDEN / 2),
    },
    {
      op: "matmul",
      tokenCount: few,
      precision: "q8",
      weight: matrix("q4_0", VOCABULARY / 3),
      source,
      target: logits,
      bias: make.floats(VOCABULARY / 3),
      accumulate: true,
    },
    { op: "softCap", tokenCount: few, dim: VOCABULARY / 3, cap: 3, vector: logits },
    { op: "softmax", tokenCount: few, dim: VOCABULARY / 3, temperature: 0.5, vector: logits },
    { op: "argmax", tokenCount: few, dim: VOCABULARY / 3, source: logits, target: chosen },
    // What argmax wrote are row ids now.
    {
      op: "gatherRows",
      tokenCount: few,
      table: matrix("q4_0", VOCABULARY / 3),
      rowIds: chosen,
      target: source,
      scale: 0.3,
      accumulate: true,
    },
  ];
}

/** Makes the scene; `rotation` allocations come first, so that operands land elsewhere. */
export function makeScene(set: KernelSet, rotation: number, tokens: number = TOKENS): Scene {
  const make = new Maker(set);
  for (let i = 0; i < rotation; i++) set.memory.allocate(64);
  const tokenCount = make.word(tokens);
  const source = make.floats(TOKENS * HIDDEN);
  const [logits, scores] = [make.floats(VOCABULARY), make.floats(TOKENS * 300)];
  const attended = make.floats(TOKENS * HEADS * HEAD_DIM);
  const [halves, sums] = [make.weights("f16", TOKENS * 300), make.floats(TOKENS * 300)];
  const [records, written] = recordOps(make, tokenCount, source);
  const shadow = { dtype: "f16", rowCount: 300, columnCount: HIDDEN } as const;
  const dim = 300;
  const ops: KernelOp[] = [
    ...matrixOps(make, tokenCount, source, logits),
    ...attentionOps(make, tokenCount, attended),
    {
      op: "neuronScores",
      kind: "contribution",
      tokenCount,
      gate: { ...shadow, base: make.weights("f16", 300 * HIDDEN) },
      up: { ...shadow, base: make.moving(make.weights("f16", 300 * HIDDEN)) },
      downNorm: make.floats(300),
      activationFn: { name: "gelu", threshold: 0 },
      upActivation: "relu",
      source,
      scores,
    },
    {
      op: "convert",
      tokenCount,
      dim,
      sourceDtype: "f32",
      targetDtype: "f16",
      source: scores,
      target: halves,
    },
    { op: "copy", tokenCount, dim, scale: -0.5, source: scores, target: sums },
    { op: "add", tokenCount, dim, scale: 3, source: scores, target: sums },
    ...records,
  ];
  const places = [
    ...written,
    { handle: source, count: TOKENS * HIDDEN },
    { handle: logits, count: VOCABULARY },
    { handle: scores, count: TOKENS * 300 },
    { handle: attended, count: TOKENS * HEADS * HEAD_DIM },
    { handle: halves, count: TOKENS * 150 },
    { handle: sums, count: TOKENS * 300 },
  ];
  return { ops, results: () => places.map(({ handle, count }) => set.memory.words(handle, count).slice()) };
}

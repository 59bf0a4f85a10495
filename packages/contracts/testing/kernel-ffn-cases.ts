import { it } from "vitest";
import type {
  ActivationName,
  DotPrecision,
  KernelOp,
  KernelSet,
  MemoryHandle,
  RecordLayout,
  WeightDtype,
} from "../src/index.js";
import { alignUp, isBlockDtype, rowBytes } from "../src/index.js";
import { expectClose, KernelFixture, oracleActivation, oraclePrecise } from "./kernel-fixture.js";
import { TOLERANCE } from "./tolerance.js";

const DTYPES: readonly WeightDtype[] = ["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1"];
const ACTIVATIONS: readonly ActivationName[] = ["silu", "relu", "relu2", "gelu", "gelu_tanh"];

interface Records {
  readonly layout: RecordLayout;
  readonly handles: readonly MemoryHandle[];
  readonly addresses: MemoryHandle;
  /** `[count, hiddenSize]` per part. */
  readonly values: Readonly<Record<string, Float64Array>>;
}

/** Records at scattered addresses; gate and up have `dtype`, down `downDtype`. */
function makeRecords(
  fixture: KernelFixture,
  dtypes: Readonly<Record<string, WeightDtype>>,
  hiddenSize: number,
  count: number,
): Records {
  let strideBytes = 0;
  const parts = Object.entries(dtypes).map(([part, dtype]) => {
    const lengthBytes = rowBytes(dtype, hiddenSize);
    const offsetBytes = strideBytes;
    strideBytes = alignUp(strideBytes + lengthBytes, 16);
    return { part: part as "gate" | "up" | "down", dtype, offsetBytes, lengthBytes };
  });
  const handles = Array.from({ length: count }, () => fixture.memory(strideBytes)).reverse();
  const values: Record<string, Float64Array> = {};
  for (const { part, dtype, offsetBytes } of parts) {
    const rows = new Float64Array(count * hiddenSize);
    handles.forEach((handle, row) => {
      const place = { arenaId: handle.arenaId, offsetBytes: handle.offsetBytes + offsetBytes };
      rows.set(fixture.fillWeights(dtype, place, hiddenSize), row * hiddenSize);
    });
    values[part] = rows;
  }
  const addresses = fixture.list(handles.map(({ offsetBytes }) => offsetBytes / 16));
  return { layout: { hiddenSize, strideBytes, parts }, handles, addresses, values };
}

interface Expected {
  readonly value: number;
  readonly tolerance: number;
  /** The activation is so close to a threshold that either side is right. */
  readonly undecided: boolean;
}

/** act(gate) * up, or act(gate) alone, with the error that the dots may carry. */
function combine(
  name: ActivationName,
  threshold: number,
  gate: { sum: number; absolute: number },
  up: { sum: number; absolute: number } | null,
  terms: number,
): Expected {
  const plain = oracleActivation(name, 0, gate.sum);
  const opened = oracleActivation(name, threshold, gate.sum);
  // No activation is steeper than 1.13, but for the square.
  const slope = name === "relu2" ? 2 * Math.abs(gate.sum) + 1 : 1.2;
  const gateError = TOLERANCE.sum(terms, gate.absolute) * slope + TOLERANCE.value(Math.abs(plain));
  const undecided = threshold > 0 && Math.abs(plain - threshold) <= gateError;
  if (up === null) return { value: opened, tolerance: gateError, undecided };
  const tolerance =
    gateError * Math.abs(up.sum) +
    Math.abs(opened) * TOLERANCE.sum(terms, up.absolute) +
    gateError * up.absolute * 1e-6;
  return {
    value: opened * up.sum,
    tolerance: tolerance + TOLERANCE.value(Math.abs(opened * up.sum)),
    undecided,
  };
}

interface ActivationCase {
  readonly precision?: DotPrecision;
  readonly dtypes: Readonly<Record<string, WeightDtype>>;
  readonly name: ActivationName;
  readonly threshold: number;
  readonly hiddenSize: number;
  readonly tokens: number;
  readonly masked: boolean;
  readonly biased: boolean;
  readonly upActivation: "none" | "relu";
}

async function activationCase(set: KernelSet, test: ActivationCase): Promise<void> {
  const { hiddenSize, tokens, name, threshold, upActivation } = test;
  const fixture = new KernelFixture(set, hiddenSize + tokens);
  const count = 11;
  const records = makeRecords(fixture, test.dtypes, hiddenSize, count);
  const ids = Array.from({ length: count }, (_, i) => (i * 5) % 13);
  const order = [10, 2, 5, 3, 0, 7, 9, 1, 4, 8, 6];
  const [begin, end, stride] = [1, 10, 14];
  const source = fixture.vector(tokens * hiddenSize);
  const activation = fixture.vector(tokens * stride);
  const biases = { gate: fixture.vector(13), up: fixture.vector(13) };
  const maskHandle = fixture.memory(tokens * 13);
  const mask = set.memory.bytes(maskHandle, tokens * 13);
  for (let i = 0; i < mask.length; i++) mask[i] = fixture.random() < 0.5 ? 0 : 1;
  const op: KernelOp = {
    op: "ffnActivations",
    tokenCount: fixture.word(tokens),
    layout: records.layout,
    activationFn: { name, threshold },
    upActivation,
    ...(test.precision ? { precision: test.precision } : {}),
    addresses: records.addresses,
    ids: fixture.list(ids),
    order: fixture.list(order),
    orderBegin: fixture.word(begin),
    orderEnd: fixture.word(end),
    source: source.handle,
    activation: activation.handle,
    activationStride: stride,
    ...(test.masked ? { mask: { base: maskHandle, stride: 13 } } : {}),
    ...(test.biased ? { gateBias: fixture.moving(biases.gate.handle), upBias: biases.up.handle } : {}),
  };
  await fixture.run([op]);
  const got = fixture.read(activation.handle, tokens * stride);
  for (let i = 0; i < got.length; i++) {
    const [token, position] = [Math.floor(i / stride), i % stride];
    if (!order.slice(begin, end).includes(position)) {
      expectClose(`untouched ${i}`, got[i]!, activation.values[i]!, 0);
      continue;
    }
    const id = ids[position]!;
    const part = (which: "gate" | "up"): { sum: number; absolute: number } => {
      const rows = records.values[which]!;
      const dtype = test.dtypes[which]!;
      const dot = oraclePrecise(test.precision, dtype, rows, position, source.values, token, hiddenSize);
      const bias = test.biased ? biases[which].values[id]! : 0;
      return { sum: dot.sum + bias, absolute: dot.absolute + Math.abs(bias) };
    };
    const up = part("up");
    const clipped = upActivation === "relu" ? { ...up, sum: Math.max(0, up.sum) } : up;
    const gated = "gate" in test.dtypes;
    const want = gated
      ? combine(name, threshold, part("gate"), clipped, hiddenSize)
      : combine(name, threshold, up, null, hiddenSize);
    if (test.masked && mask[token * 13 + id] === 0) expectClose(`masked ${i}`, got[i]!, 0, 0);
    else if (!want.undecided)
      expectClose(`token ${token} position ${position}`, got[i]!, want.value, want.tolerance);
  }
}

async function downCase(
  set: KernelSet,
  dtype: WeightDtype,
  hiddenSize: number,
  tokens: number,
  biased: boolean,
): Promise<void> {
  const fixture = new KernelFixture(set, hiddenSize + tokens);
  const count = 13;
  const stride = 15;
  const records = makeRecords(fixture, { gate: "f16", down: dtype }, hiddenSize, count);
  const activation = fixture.vector(tokens * stride);
  const factors = set.memory.floats(activation.handle, tokens * stride);
  for (let i = 0; i < factors.length; i++) if (fixture.random() < 0.4) factors[i] = 0;
  // A record that no token uses may hold anything, NaN included.
  for (let token = 0; token < tokens; token++) factors[token * stride + 5] = 0;
  const down = records.layout.parts[1]!;
  const unused = records.handles[5]!.offsetBytes + down.offsetBytes;
  set.memory.bytes({ arenaId: 0, offsetBytes: unused }, down.lengthBytes).fill(0xff);
  const values = Float64Array.from(factors);
  const target = fixture.vector(tokens * hiddenSize);
  const bias = fixture.vector(hiddenSize);
  const shape = {
    op: "ffnDown",
    tokenCount: fixture.word(tokens),
    layout: records.layout,
    addresses: records.addresses,
  } as const;
  const places = { activation: activation.handle, activationStride: stride, target: target.handle };
  await fixture.run([
    { ...shape, ...places, positionCount: fixture.word(count), ...(biased ? { bias: bias.handle } : {}) },
  ]);
  const got = fixture.read(target.handle, tokens * hiddenSize);
  for (let i = 0; i < got.length; i++) {
    const [token, column] = [Math.floor(i / hiddenSize), i % hiddenSize];
    let sum = target.values[i]! + (biased ? bias.values[column]! : 0);
    let absolute = Math.abs(target.values[i]!) + 1;
    for (let position = 0; position < count; position++) {
      if (position === 5) continue;
      const product =
        values[token * stride + position]! * records.values.down![position * hiddenSize + column]!;
      sum += product;
      absolute += Math.abs(product);
    }
    expectClose(`element ${i}`, got[i]!, sum, TOLERANCE.sum(count + 2, absolute));
  }
}

async function scoresCase(
  set: KernelSet,
  dtype: WeightDtype,
  kind: "contribution" | "gate" | "product",
  tokens: number,
  precision: DotPrecision = "f32",
): Promise<void> {
  const fixture = new KernelFixture(set, tokens);
  const [rows, columns] = [10, 64];
  const gate = fixture.weight(dtype, rows, columns, true);
  const up = fixture.weight(dtype, rows, columns, true);
  const norms = fixture.vector(rows);
  const source = fixture.vector(tokens * columns);
  const scores = fixture.memory(tokens * rows * 4);
  const shape = {
    op: "neuronScores",
    kind,
    precision,
    tokenCount: fixture.word(tokens),
    gate: gate.ref,
    source: source.handle,
    scores,
  } as const;
  const rest = {
    ...(kind === "gate" ? {} : { up: up.ref }),
    ...(kind === "contribution" ? { downNorm: norms.handle } : {}),
  };
  await fixture.run([
    { ...shape, ...rest, activationFn: { name: "silu", threshold: 0 }, upActivation: "relu" },
  ]);
  const got = fixture.read(scores, tokens * rows);
  for (let i = 0; i < got.length; i++) {
    const [token, row] = [Math.floor(i / rows), i % rows];
    const upDot = oraclePrecise(precision, dtype, up.values, row, source.values, token, columns);
    const gateDot = oraclePrecise(precision, dtype, gate.values, row, source.values, token, columns);
    const want = combine(
      "silu",
      0,
      gateDot,
      kind === "gate" ? null : { ...upDot, sum: Math.max(0, upDot.sum) },
      columns,
    );
    const norm = kind === "contribution" ? norms.values[row]! : 1;
    const value = kind === "contribution" ? Math.abs(want.value) * norm : want.value;
    expectClose(
      `score ${i}`,
      got[i]!,
      value,
      want.tolerance * Math.abs(norm) + TOLERANCE.value(Math.abs(value)),
    );
  }
}

/** FFN activations, down projection and neuron scores. */
export function ffnCases(set: () => KernelSet): void {
  const base = {
    threshold: 0,
    hiddenSize: 96,
    tokens: 1,
    masked: false,
    biased: false,
    upActivation: "none",
  } as const;
  for (const dtype of DTYPES) {
    const gated = { gate: dtype, up: dtype, down: "q8_0" } as const;
    it.each(ACTIVATIONS)(`ffnActivations ${dtype} %s`, async (name) => {
      await activationCase(set(), { ...base, dtypes: gated, name });
      await activationCase(set(), { ...base, dtypes: gated, name, tokens: 5, masked: true, biased: true });
      await activationCase(set(), {
        ...base,
        dtypes: { up: dtype, down: "f16" },
        name,
        tokens: 3,
        biased: true,
      });
      await activationCase(set(), {
        ...base,
        dtypes: gated,
        name,
        masked: true,
        threshold: 0.1,
        upActivation: "relu",
      });
    });
    it(`ffnActivations and neuronScores ${dtype} in precision q8`, async () => {
      const precise = { ...base, dtypes: gated, name: "silu", precision: "q8" } as const;
      await activationCase(set(), precise);
      await activationCase(set(), { ...precise, tokens: 5, masked: true, biased: true });
      await activationCase(set(), { ...precise, dtypes: { up: dtype, down: "f16" }, tokens: 3 });
      for (const tokens of [1, 3, 4]) await scoresCase(set(), dtype, "product", tokens, "q8");
    });
    it.each([1, 2, 5])(`ffnDown ${dtype}, %i tokens`, async (tokens) => {
      const sizes = isBlockDtype(dtype) ? [32, 160] : [1, 30, 67, 128];
      for (const hiddenSize of sizes) await downCase(set(), dtype, hiddenSize, tokens, hiddenSize > 60);
    });
    it.each(["contribution", "gate", "product"] as const)(`neuronScores ${dtype} %s`, async (kind) => {
      for (const tokens of [1, 3, 4]) await scoresCase(set(), dtype, kind, tokens);
    });
  }
  it("ffnActivations with parts of two dtypes and odd sizes", async () => {
    await activationCase(set(), {
      ...base,
      dtypes: { gate: "q4_0", up: "q8_0", down: "f32" },
      name: "silu",
      tokens: 2,
    });
    for (const hiddenSize of [1, 5, 31]) {
      await activationCase(set(), {
        ...base,
        dtypes: { gate: "f16", up: "f32", down: "f32" },
        name: "relu",
        hiddenSize,
      });
      await activationCase(set(), {
        ...base,
        dtypes: { gate: "bf16", up: "f16", down: "f32" },
        name: "silu",
        hiddenSize,
        tokens: 4,
      });
    }
  });
}

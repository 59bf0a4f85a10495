import type {
  DotPrecision,
  FfnActivation,
  KernelOp,
  MemoryHandle,
  NeuronPart,
  RecordLayout,
  VectorRef,
  WeightDtype,
  WeightRef,
} from "@flashlm/contracts";

type OpOf<Name extends KernelOp["op"]> = Extract<KernelOp, { op: Name }>;

// Numbers of native/codes.h.
const DTYPES: Readonly<Record<WeightDtype, number>> = { f32: 0, f16: 1, bf16: 2, q8_0: 3, q4_0: 4, q4_1: 5 };
const ACTIVATIONS: Readonly<Record<FfnActivation["name"], number>> = {
  silu: 0,
  relu: 1,
  relu2: 2,
  gelu: 3,
  gelu_tanh: 4,
};
const SCORES: Readonly<Record<OpOf<"neuronScores">["kind"], number>> = {
  contribution: 0,
  gate: 1,
  product: 2,
};
/** A window that sees everything. */
const NO_WINDOW = 0xffffffff;

const at = (handle: MemoryHandle | undefined): number => handle?.offsetBytes ?? 0;
const flag = (value: boolean): number => (value ? 1 : 0);
const quantised = (precision: DotPrecision | undefined): number => flag(precision === "q8");

/** Two words: address word or 0, offset. Both 0 mean that there is none. */
function reference(base: VectorRef | undefined): number[] {
  if (base === undefined) return [0, 0];
  return "addressWord" in base ? [base.addressWord.offsetBytes, base.offsetBytes] : [0, base.offsetBytes];
}

const NO_WEIGHT = [0, 0, 0, 0, 0];

function weight(ref: WeightRef | undefined): number[] {
  if (ref === undefined) return NO_WEIGHT;
  return [DTYPES[ref.dtype], ref.rowCount, ref.columnCount, ...reference(ref.base)];
}

function record(layout: RecordLayout): number[] {
  const part = (name: NeuronPart): number[] => {
    const found = layout.parts.find((one) => one.part === name);
    return found === undefined ? [0, 0, 0] : [1, DTYPES[found.dtype], found.offsetBytes];
  };
  return [layout.hiddenSize, layout.strideBytes, ...part("gate"), ...part("up"), ...part("down")];
}

const norm = (op: OpOf<"norm">): number[] => [
  flag(op.kind === "layer"),
  op.rowsPerToken,
  op.dim,
  op.epsilon,
  at(op.source),
  at(op.target),
  ...reference(op.weight),
  ...reference(op.bias),
];

const matmul = (op: OpOf<"matmul">): number[] => [
  ...weight(op.weight),
  quantised(op.precision),
  at(op.source),
  at(op.target),
  ...reference(op.bias),
  flag(op.accumulate),
];

const storeKeyValue = (op: OpOf<"storeKeyValue">): number[] => [
  ...[op.position, op.keys, op.values, op.keyCache, op.valueCache].map(at),
  op.keyValueDim,
  op.capacityTokens,
  DTYPES[op.cacheDtype ?? "f32"],
];

const attention = (op: OpOf<"attention">): number[] => [
  ...[op.position, op.query, op.keyCache, op.valueCache, op.target].map(at),
  op.headCount,
  op.keyValueHeadCount,
  op.headDim,
  op.scale,
  op.window ?? NO_WINDOW,
  op.capacityTokens,
  DTYPES[op.cacheDtype ?? "f32"],
  op.softCap ?? 0,
  ...reference(op.alibiSlopes),
  ...reference(op.sinks),
];

const activations = (op: OpOf<"ffnActivations">): number[] => [
  ...record(op.layout),
  quantised(op.precision),
  ACTIVATIONS[op.activationFn.name],
  op.activationFn.threshold,
  flag(op.upActivation === "relu"),
  ...[op.addresses, op.ids, op.order, op.orderBegin, op.orderEnd, op.source, op.activation].map(at),
  op.activationStride,
  at(op.mask?.base),
  op.mask?.stride ?? 0,
  ...reference(op.gateBias),
  ...reference(op.upBias),
];

const down = (op: OpOf<"ffnDown">): number[] => [
  ...record(op.layout),
  ...[op.addresses, op.positionCount, op.activation].map(at),
  op.activationStride,
  at(op.target),
  ...reference(op.bias),
];

const scores = (op: OpOf<"neuronScores">): number[] => [
  SCORES[op.kind],
  quantised(op.precision),
  ...weight(op.gate),
  ...weight(op.up),
  ...reference(op.downNorm),
  ACTIVATIONS[op.activationFn.name],
  op.activationFn.threshold,
  flag(op.upActivation === "relu"),
  at(op.source),
  at(op.scores),
];

const crc32c = (op: OpOf<"crc32c">): number[] => [
  ...[op.addresses, op.order, op.orderBegin, op.orderEnd].map(at),
  op.lengthBytes,
  at(op.checksums),
];

const rows = (dim: number, number: number, source: MemoryHandle, target: MemoryHandle): number[] => [
  dim,
  number,
  at(source),
  at(target),
];

type Encoder<Name extends KernelOp["op"]> = readonly [code: number, words: (op: OpOf<Name>) => number[]];

/** Code of an op and its words, as native/program.cc reads them. */
const ENCODERS: { readonly [Name in KernelOp["op"]]: Encoder<Name> } = {
  gatherRows: [
    1,
    (op) => [...weight(op.table), at(op.rowIds), at(op.target), op.scale ?? 1, flag(op.accumulate ?? false)],
  ],
  norm: [2, norm],
  matmul: [3, matmul],
  rope: [4, (op) => [at(op.position), at(op.vector), op.headCount, op.headDim, op.rotaryDim, at(op.table)]],
  storeKeyValue: [5, storeKeyValue],
  attention: [6, attention],
  ffnActivations: [7, activations],
  ffnDown: [8, down],
  neuronScores: [9, scores],
  crc32c: [10, crc32c],
  add: [11, (op) => rows(op.dim, op.scale, op.source, op.target)],
  copy: [12, (op) => rows(op.dim, op.scale, op.source, op.target)],
  softCap: [13, (op) => rows(op.dim, op.cap, op.vector, op.vector)],
  softmax: [14, (op) => rows(op.dim, op.temperature, op.vector, op.vector)],
  argmax: [15, (op) => rows(op.dim, 0, op.source, op.target)],
  convert: [
    16,
    (op) => [op.dim, DTYPES[op.sourceDtype], DTYPES[op.targetDtype], at(op.source), at(op.target)],
  ],
};

/** Numbers of a program: op count, then per op its code, its token count word and its own. f64, so that offsets may pass 4 GiB. */
export function encodeNativeProgram(ops: readonly KernelOp[]): Float64Array {
  const words = [ops.length];
  for (const op of ops) {
    const [code, encode] = ENCODERS[op.op] as Encoder<KernelOp["op"]>;
    const own = (encode as (op: KernelOp) => number[])(op);
    words.push(code, "tokenCount" in op ? op.tokenCount.offsetBytes : 0, ...own);
  }
  return Float64Array.from(words);
}

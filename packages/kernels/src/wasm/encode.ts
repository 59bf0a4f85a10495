import type {
  DotPrecision,
  FfnActivation,
  KernelOp,
  MemoryHandle,
  RecordLayout,
  VectorRef,
  WeightDtype,
  WeightRef,
} from "@flashlm/contracts";
import * as layout from "../../assembly/layout.js";

type OpOf<Name extends KernelOp["op"]> = Extract<KernelOp, { op: Name }>;

const DTYPES: Readonly<Record<WeightDtype, number>> = {
  f32: layout.DTYPE_F32,
  f16: layout.DTYPE_F16,
  bf16: layout.DTYPE_BF16,
  q8_0: layout.DTYPE_Q8_0,
  q4_0: layout.DTYPE_Q4_0,
  q4_1: layout.DTYPE_Q4_1,
};
const ACTIVATIONS: Readonly<Record<FfnActivation["name"], number>> = {
  silu: layout.ACTIVATION_SILU,
  relu: layout.ACTIVATION_RELU,
  relu2: layout.ACTIVATION_RELU2,
  gelu: layout.ACTIVATION_GELU,
  gelu_tanh: layout.ACTIVATION_GELU_TANH,
};
const SCORES: Readonly<Record<OpOf<"neuronScores">["kind"], number>> = {
  contribution: layout.SCORE_CONTRIBUTION,
  gate: layout.SCORE_GATE,
  product: layout.SCORE_PRODUCT,
};

const precisionWord = (precision: DotPrecision | undefined): number => (precision === "q8" ? 1 : 0);

const at = (handle: MemoryHandle | undefined): number => handle?.offsetBytes ?? 0;

const floatWords = (value: number): number => new Uint32Array(new Float32Array([value]).buffer)[0]!;

/** Two words: address word or 0, offset. Both 0 mean that there is none. */
function reference(base: VectorRef | undefined): [number, number] {
  if (base === undefined) return [0, 0];
  return "addressWord" in base ? [base.addressWord.offsetBytes, base.offsetBytes] : [0, base.offsetBytes];
}

/** Two words: dtype and offset of a part; zeros where the record has none. */
function recordPart(record: RecordLayout, name: string): [number, number] {
  const found = record.parts.find(({ part }) => part === name);
  return found ? [DTYPES[found.dtype], found.offsetBytes] : [0, 0];
}

function activations(op: OpOf<"ffnActivations">): number[] {
  const gated = op.layout.parts.some(({ part }) => part === "gate");
  return [
    op.layout.hiddenSize,
    op.layout.strideBytes,
    gated ? 1 : 0,
    ...recordPart(op.layout, "gate"),
    ...recordPart(op.layout, "up"),
    ACTIVATIONS[op.activationFn.name],
    floatWords(op.activationFn.threshold),
    op.upActivation === "relu" ? 1 : 0,
    at(op.addresses),
    at(op.ids),
    at(op.order),
    at(op.orderBegin),
    at(op.orderEnd),
    at(op.source),
    at(op.activation),
    op.activationStride,
    at(op.mask?.base),
    op.mask?.stride ?? 0,
    ...reference(op.gateBias),
    ...reference(op.upBias),
    precisionWord(op.precision),
  ];
}

function scores(op: OpOf<"neuronScores">): number[] {
  return [
    SCORES[op.kind],
    op.gate.rowCount,
    op.gate.columnCount,
    DTYPES[op.gate.dtype],
    ...reference(op.gate.base),
    DTYPES[op.up?.dtype ?? "f32"],
    ...reference(op.up?.base),
    ...reference(op.downNorm),
    ACTIVATIONS[op.activationFn.name],
    floatWords(op.activationFn.threshold),
    op.upActivation === "relu" ? 1 : 0,
    at(op.source),
    at(op.scores),
    precisionWord(op.precision),
  ];
}

const matrix = ({ dtype, rowCount, columnCount, base }: WeightRef): number[] => [
  DTYPES[dtype],
  rowCount,
  columnCount,
  ...reference(base),
];

function norm(op: OpOf<"norm">): number[] {
  const head = [op.kind === "layer" ? 1 : 0, op.rowsPerToken, op.dim, floatWords(op.epsilon)];
  return [...head, at(op.source), at(op.target), ...reference(op.weight), ...reference(op.bias)];
}

function matmul(op: OpOf<"matmul">): number[] {
  const head = [...matrix(op.weight), at(op.source), at(op.target), ...reference(op.bias)];
  return [...head, op.accumulate ? 1 : 0, precisionWord(op.precision)];
}

function storeKeyValue(op: OpOf<"storeKeyValue">): number[] {
  const places = [at(op.position), at(op.keys), at(op.values), at(op.keyCache), at(op.valueCache)];
  return [...places, op.keyValueDim, op.capacityTokens, DTYPES[op.cacheDtype ?? "f32"]];
}

function attention(op: OpOf<"attention">): number[] {
  const places = [at(op.position), at(op.query), at(op.keyCache), at(op.valueCache), at(op.target)];
  const counts = [op.headCount, op.keyValueHeadCount, op.headDim, floatWords(op.scale)];
  const cache = [op.window ?? 0xffffffff, op.capacityTokens, DTYPES[op.cacheDtype ?? "f32"]];
  const extras = [floatWords(op.softCap ?? 0), ...reference(op.alibiSlopes), ...reference(op.sinks)];
  return [...places, ...counts, ...cache, ...extras];
}

function down(op: OpOf<"ffnDown">): number[] {
  const head = [op.layout.hiddenSize, op.layout.strideBytes, ...recordPart(op.layout, "down")];
  const lists = [at(op.addresses), at(op.positionCount), at(op.activation), op.activationStride];
  return [...head, ...lists, at(op.target), ...reference(op.bias)];
}

function crc32c(op: OpOf<"crc32c">): number[] {
  const list = [at(op.addresses), at(op.order), at(op.orderBegin), at(op.orderEnd)];
  return [...list, op.lengthBytes, at(op.checksums)];
}

const scaled = (op: OpOf<"add"> | OpOf<"copy">): number[] => [
  op.dim,
  floatWords(op.scale),
  at(op.source),
  at(op.target),
];

type Encoder<Name extends KernelOp["op"]> = readonly [code: number, words: (op: OpOf<Name>) => number[]];

/** Code of an op and the words of its command, as the assembly of that op lists them. */
const ENCODERS: { readonly [Name in KernelOp["op"]]: Encoder<Name> } = {
  gatherRows: [
    layout.OP_GATHER_ROWS,
    (op) => [
      ...matrix(op.table),
      at(op.rowIds),
      at(op.target),
      floatWords(op.scale ?? 1),
      op.accumulate ? 1 : 0,
    ],
  ],
  norm: [layout.OP_NORM, norm],
  matmul: [layout.OP_MATMUL, matmul],
  rope: [
    layout.OP_ROPE,
    (op) => [at(op.position), at(op.vector), op.headCount, op.headDim, op.rotaryDim, at(op.table)],
  ],
  storeKeyValue: [layout.OP_STORE_KEY_VALUE, storeKeyValue],
  attention: [layout.OP_ATTENTION, attention],
  ffnActivations: [layout.OP_FFN_ACTIVATIONS, activations],
  ffnDown: [layout.OP_FFN_DOWN, down],
  neuronScores: [layout.OP_NEURON_SCORES, scores],
  crc32c: [layout.OP_CRC32C, crc32c],
  add: [layout.OP_ADD, scaled],
  copy: [layout.OP_COPY, scaled],
  softCap: [layout.OP_SOFT_CAP, (op) => [op.dim, floatWords(op.cap), at(op.vector)]],
  softmax: [layout.OP_SOFTMAX, (op) => [op.dim, floatWords(op.temperature), at(op.vector)]],
  argmax: [layout.OP_ARGMAX, (op) => [op.dim, at(op.source), at(op.target)]],
  convert: [
    layout.OP_CONVERT,
    (op) => [DTYPES[op.sourceDtype], DTYPES[op.targetDtype], op.dim, at(op.source), at(op.target)],
  ],
};

/** Code of an op and its own words. */
export function encodeOp(op: KernelOp): { readonly code: number; readonly words: readonly number[] } {
  const [code, encode] = ENCODERS[op.op] as Encoder<KernelOp["op"]>;
  return { code, words: (encode as (op: KernelOp) => number[])(op) };
}

/** The whole command of an op: its code, the number of its words, the token count word and its words. */
export function encodeCommand(op: KernelOp): number[] {
  const { code, words } = encodeOp(op);
  return [code, words.length, "tokenCount" in op ? op.tokenCount.offsetBytes : 0, ...words];
}

/** Words of a program: op count, then the command of each op. */
export function encodeProgram(ops: readonly KernelOp[]): Uint32Array {
  return Uint32Array.from([ops.length, ...ops.flatMap(encodeCommand)]);
}

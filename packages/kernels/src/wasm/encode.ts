import {
  type FfnActivation,
  FlashlmError,
  type KernelOp,
  type MemoryHandle,
  type RecordLayout,
  type VectorRef,
  type WeightDtype,
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
  ];
}

/** Code of an op and the words of its command, as the assembly of that op lists them. */
function command(op: KernelOp): readonly [code: number, words: number[]] {
  switch (op.op) {
    case "gatherRows": {
      const { dtype, rowCount, columnCount, base } = op.table;
      const words = [DTYPES[dtype], rowCount, columnCount, ...reference(base), at(op.rowIds), at(op.target)];
      return [layout.OP_GATHER_ROWS, words];
    }
    case "norm": {
      const kind = op.kind === "layer" ? 1 : 0;
      const head = [kind, op.rowsPerToken, op.dim, floatWords(op.epsilon), at(op.source), at(op.target)];
      return [layout.OP_NORM, [...head, ...reference(op.weight), ...reference(op.bias)]];
    }
    case "matmul": {
      const { dtype, rowCount, columnCount, base } = op.weight;
      const head = [DTYPES[dtype], rowCount, columnCount, ...reference(base), at(op.source), at(op.target)];
      return [layout.OP_MATMUL, [...head, ...reference(op.bias), op.accumulate ? 1 : 0]];
    }
    case "rope":
      return [
        layout.OP_ROPE,
        [at(op.position), at(op.vector), op.headCount, op.headDim, op.rotaryDim, at(op.table)],
      ];
    case "storeKeyValue": {
      const places = [at(op.position), at(op.keys), at(op.values), at(op.keyCache), at(op.valueCache)];
      return [layout.OP_STORE_KEY_VALUE, [...places, op.keyValueDim, op.capacityTokens]];
    }
    case "attention": {
      const places = [at(op.position), at(op.query), at(op.keyCache), at(op.valueCache), at(op.target)];
      const counts = [op.headCount, op.keyValueHeadCount, op.headDim, floatWords(op.scale)];
      return [layout.OP_ATTENTION, [...places, ...counts, op.window ?? 0xffffffff, op.capacityTokens]];
    }
    case "ffnActivations":
      return [layout.OP_FFN_ACTIVATIONS, activations(op)];
    case "ffnDown": {
      const head = [op.layout.hiddenSize, op.layout.strideBytes, ...recordPart(op.layout, "down")];
      const places = [
        at(op.addresses),
        at(op.positionCount),
        at(op.activation),
        op.activationStride,
        at(op.target),
      ];
      return [layout.OP_FFN_DOWN, [...head, ...places, ...reference(op.bias)]];
    }
    case "neuronScores":
      return [layout.OP_NEURON_SCORES, scores(op)];
    case "crc32c": {
      const words = [
        at(op.addresses),
        at(op.order),
        at(op.orderBegin),
        at(op.orderEnd),
        op.lengthBytes,
        at(op.checksums),
      ];
      return [layout.OP_CRC32C, words];
    }
    default:
      throw new FlashlmError("KERNEL_NOT_SUPPORTED", `the WASM target has no op ${op.op}`, { op: op.op });
  }
}

/** Words of a program: op count, then per op its code, the number of its words, the token count word and its words. */
export function encodeProgram(ops: readonly KernelOp[]): Uint32Array {
  const words = [ops.length];
  for (const op of ops) {
    const [code, own] = command(op);
    words.push(code, own.length, "tokenCount" in op ? op.tokenCount.offsetBytes : 0, ...own);
  }
  return Uint32Array.from(words);
}

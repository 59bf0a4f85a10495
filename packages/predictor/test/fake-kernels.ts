import type {
  BundleHeads,
  BundleManifest,
  BundleTensor,
  KernelOp,
  KernelSet,
  MemoryHandle,
  ModelConfig,
  PredictorContext,
  WeightDtype,
} from "@flashlm/contracts";
import { rowBytes } from "@flashlm/contracts";
import { createPrng } from "@flashlm/contracts/testing";
import { floatsToBlocks, storedToFloats } from "./stored-weights.js";

type ScoreOp = Extract<KernelOp, { op: "neuronScores" }>;
type Ffn = ModelConfig["ffn"];

/** Activation functions in float64, from their definitions. */
export function activate({ name, threshold }: Ffn["activation"], value: number): number {
  if (name === "silu") return value / (1 + Math.exp(-value));
  if (name !== "relu" && name !== "relu2") throw new Error(`the fake has no ${name}`);
  const positive = Math.max(0, value);
  const result = name === "relu" ? positive : positive * positive;
  return result <= threshold ? 0 : result;
}

/** Score of one neuron in float64, from the definition of `neuronScores`. */
export function scoreOf(
  { kind, activationFn, upActivation }: Pick<ScoreOp, "kind" | "activationFn" | "upActivation">,
  gate: number,
  up: number,
  downNorm: number,
): number {
  const activated = activate(activationFn, gate);
  if (kind === "gate") return activated;
  const product = activated * (upActivation === "relu" ? Math.max(0, up) : up);
  return kind === "product" ? product : Math.abs(product) * downNorm;
}

/** Dot product of row `row` of `matrix` with `vector`. */
export function dot(matrix: Float32Array, row: number, vector: Float32Array): number {
  let sum = 0;
  for (let column = 0; column < vector.length; column++)
    sum += matrix[row * vector.length + column]! * vector[column]!;
  return sum;
}

/** A kernel set that knows `neuronScores`, `matmul` and `convert` from f32 to q8_0, in float64. */
export class FakeKernels implements KernelSet {
  readonly contractVersion = 1 as const;
  readonly target = "fake";
  readonly threadCount = 1;
  readonly #memory: SharedArrayBuffer;
  #usedBytes = 64;
  allocateCount = 0;

  constructor(memoryBytes: number = 1 << 20) {
    this.#memory = new SharedArrayBuffer(memoryBytes);
  }

  readonly #programs = new Map<object, readonly KernelOp[]>();
  readonly memory: KernelSet["memory"] = {
    arenas: [],
    allocate: (lengthBytes, alignmentBytes = 64) => {
      const offsetBytes = Math.ceil(this.#usedBytes / alignmentBytes) * alignmentBytes;
      this.#usedBytes = offsetBytes + lengthBytes;
      this.allocateCount++;
      return { arenaId: 0, offsetBytes };
    },
    bytes: ({ offsetBytes }, lengthBytes) => new Uint8Array(this.#memory, offsetBytes, lengthBytes),
    floats: ({ offsetBytes }, count) => new Float32Array(this.#memory, offsetBytes, count),
    words: ({ offsetBytes }, count) => new Uint32Array(this.#memory, offsetBytes, count),
  };

  supports(): boolean {
    return true;
  }

  compile(ops: readonly KernelOp[]): { readonly opCount: number } {
    const program = { opCount: ops.length };
    this.#programs.set(program, ops);
    return program;
  }

  run(program: object): void {
    for (const op of this.#programs.get(program)!) {
      if (op.op === "matmul") this.#multiply(op);
      else if (op.op === "convert") this.#convert(op);
      else this.#score(op as ScoreOp);
    }
  }

  async close(): Promise<void> {}

  #multiply(op: Extract<KernelOp, { op: "matmul" }>): void {
    const tokenCount = this.memory.words(op.tokenCount, 1)[0]!;
    const { rowCount, columnCount } = op.weight;
    const base = op.weight.base as MemoryHandle;
    const count = rowCount * columnCount;
    const weight = this.#weights(op.weight.dtype, base, count);
    const bias = op.bias && this.memory.floats(op.bias as MemoryHandle, rowCount);
    const source = this.memory.floats(op.source, tokenCount * columnCount);
    const target = this.memory.floats(op.target, tokenCount * rowCount);
    for (let token = 0; token < tokenCount; token++) {
      const vector = source.subarray(token * columnCount, (token + 1) * columnCount);
      for (let row = 0; row < rowCount; row++) {
        const before = op.accumulate ? target[token * rowCount + row]! : 0;
        target[token * rowCount + row] = before + dot(weight, row, vector) + (bias?.[row] ?? 0);
      }
    }
  }

  #weights(dtype: WeightDtype, base: MemoryHandle, count: number): Float32Array {
    if (dtype === "f32") return this.memory.floats(base, count);
    return storedToFloats(dtype, this.memory.bytes(base, rowBytes(dtype, count)).slice());
  }

  #convert(op: Extract<KernelOp, { op: "convert" }>): void {
    const count = this.memory.words(op.tokenCount, 1)[0]! * op.dim;
    if (op.sourceDtype !== "f32" || op.targetDtype !== "q8_0" || op.dim % 32 !== 0)
      throw new Error(`the fake does not convert ${op.dim} of ${op.sourceDtype} to ${op.targetDtype}`);
    floatsToBlocks(
      this.memory.floats(op.source, count),
      this.memory.bytes(op.target, rowBytes("q8_0", count)),
    );
  }

  #score(op: ScoreOp): void {
    const tokenCount = this.memory.words(op.tokenCount, 1)[0]!;
    const { rowCount, columnCount } = op.gate;
    const gate = this.memory.floats(op.gate.base as MemoryHandle, rowCount * columnCount);
    const up = op.up && this.memory.floats(op.up.base as MemoryHandle, rowCount * columnCount);
    const downNorm = op.downNorm && this.memory.floats(op.downNorm as MemoryHandle, rowCount);
    const scores = this.memory.floats(op.scores, tokenCount * rowCount);
    for (let token = 0; token < tokenCount; token++) {
      const source = this.memory.floats(op.source, (token + 1) * columnCount).subarray(token * columnCount);
      for (let row = 0; row < rowCount; row++) {
        const upValue = up === undefined ? 1 : dot(up, row, source);
        scores[token * rowCount + row] = scoreOf(op, dot(gate, row, source), upValue, downNorm?.[row] ?? 1);
      }
    }
  }
}

/** What a test model is made of. */
export interface ModelOptions {
  readonly ffn?: Partial<Ffn>;
  /** Tensors per layer; default all. */
  readonly tensorNames?: readonly string[];
  readonly calibration?: BundleManifest["calibration"];
  /** Trained heads, all of one rank; their tensors come with them. */
  readonly heads?: BundleHeads | undefined;
}

export const HIDDEN_SIZE = 8;
export const NEURON_COUNTS: readonly number[] = [24, 17];
export const TOKEN_CAPACITY = 4;
const ALL_TENSORS = [
  "shadow.gate.weight",
  "shadow.up.weight",
  "shadow.down_norm",
  "exact.gate.weight",
  "exact.up.weight",
] as const;

function fakeTensor(name: string, neuronCount: number): BundleTensor {
  const isVector = name.endsWith("down_norm") || name.endsWith("bias");
  return {
    name,
    dtype: "f32",
    rowCount: isVector ? 1 : neuronCount,
    columnCount: isVector ? neuronCount : HIDDEN_SIZE,
    fileIndex: 2,
    offsetBytes: 0,
    lengthBytes: 4 * neuronCount * (isVector ? 1 : HIDDEN_SIZE),
    crc32c: 0,
  };
}

function fakeHeadTensors(heads: BundleHeads | undefined): BundleTensor[] {
  return (["lowrank", "lookahead"] as const).flatMap((which) =>
    (heads?.[which] ?? []).flatMap(({ layerIndex, rank }) => {
      const prefix = `layers.${layerIndex}.${which}`;
      const neuronCount = NEURON_COUNTS[which === "lowrank" ? layerIndex : layerIndex + 1]!;
      const tensor = (part: string, rowCount: number, columnCount: number): BundleTensor => ({
        ...fakeTensor(`${prefix}.${part}`, neuronCount),
        rowCount,
        columnCount,
        lengthBytes: 4 * rowCount * columnCount,
      });
      return [
        tensor("a.weight", rank, HIDDEN_SIZE),
        tensor("b.weight", neuronCount, rank),
        tensor("bias", 1, neuronCount),
      ];
    }),
  );
}

/** The parts of a manifest that predictors look at. */
export function fakeManifest({
  ffn,
  tensorNames = ALL_TENSORS,
  calibration = null,
  heads,
}: ModelOptions = {}): BundleManifest {
  const model = {
    hiddenSize: HIDDEN_SIZE,
    layerCount: NEURON_COUNTS.length,
    ffn: {
      kind: "gated",
      neuronCount: NEURON_COUNTS[0],
      activation: { name: "relu", threshold: 0 },
      upActivation: "none",
      bias: false,
      ...ffn,
    },
  };
  const layers = NEURON_COUNTS.map((neuronCount) => ({ neuronCount, offsetBytes: 0 }));
  const tensors = NEURON_COUNTS.flatMap((neuronCount, layerIndex) =>
    tensorNames.map((name) => fakeTensor(`layers.${layerIndex}.${name}`, neuronCount)),
  );
  tensors.push(...fakeHeadTensors(heads));
  return { formatVersion: 1, model, layers, tensors, calibration, heads } as unknown as BundleManifest;
}

/** A predictor context with random weights, and the weights. */
export interface FakeContext extends PredictorContext {
  readonly kernels: FakeKernels;
  values(name: string): Float32Array;
}

export function fakeContext(options: ModelOptions = {}, seed = 1): FakeContext {
  const random = createPrng(seed);
  const kernels = new FakeKernels();
  const manifest = fakeManifest(options);
  const handles = new Map<string, { tensor: BundleTensor; base: MemoryHandle }>();
  for (const tensor of manifest.tensors) {
    const base = kernels.memory.allocate(tensor.lengthBytes);
    const values = kernels.memory.floats(base, tensor.lengthBytes / 4);
    const isVector = tensor.name.endsWith("down_norm");
    for (let index = 0; index < values.length; index++)
      values[index] = isVector ? random() + 0.1 : random() * 2 - 1;
    handles.set(tensor.name, { tensor, base });
  }
  return {
    kernels,
    manifest,
    tokenCapacity: TOKEN_CAPACITY,
    tokenCount: kernels.memory.allocate(4),
    hidden: kernels.memory.allocate(TOKEN_CAPACITY * HIDDEN_SIZE * 4),
    tensor(name) {
      const { tensor, base } = handles.get(name)!;
      return { dtype: tensor.dtype, rowCount: tensor.rowCount, columnCount: tensor.columnCount, base };
    },
    values(name) {
      const { tensor, base } = handles.get(name)!;
      return kernels.memory.floats(base, tensor.lengthBytes / 4);
    },
  };
}

/** A context whose bundle has trained heads and nothing else. */
export function fakeHeadContext(heads: BundleHeads | undefined): FakeContext {
  return fakeContext({ tensorNames: [], heads });
}

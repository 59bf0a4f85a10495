import {
  ADDRESS_UNIT_BYTES,
  type KernelOp,
  type MemoryHandle,
  rowBytes,
  type VectorRef,
  type WeightRef,
} from "@flashlm/contracts";
import type { Segments } from "./segments.js";
import type { Job, Operand } from "./staging.js";

type OpOf<Name extends KernelOp["op"]> = Extract<KernelOp, { op: Name }>;

/** Address that a reference has now. */
export function addressOf(segments: Segments, base: VectorRef): number {
  if (!("addressWord" in base)) return base.offsetBytes;
  return segments.word(base.addressWord.offsetBytes) * ADDRESS_UNIT_BYTES + base.offsetBytes;
}

const perToken = ({ offsetBytes }: MemoryHandle, bytes: number, use: Operand["use"]): Operand => ({
  address: offsetBytes,
  rowBytes: bytes,
  use,
});

const shared = (address: number, lengthBytes: number): Operand => ({
  address,
  rowBytes: lengthBytes,
  rowCount: 1,
  use: "read",
});

/** A f32 vector that all tokens share, where there is one. */
function vector(
  segments: Segments,
  name: string,
  base: VectorRef | undefined,
  count: number,
  first: number = 0,
): Readonly<Record<string, Operand>> {
  return base ? { [name]: shared(addressOf(segments, base) + first * 4, count * 4) } : {};
}

/** Its place, where there is one. */
const placed = <Name extends string>(
  name: Name,
  places: Readonly<Record<string, MemoryHandle>>,
): { readonly [Key in Name]?: MemoryHandle } =>
  places[name] ? ({ [name]: places[name] } as { [Key in Name]: MemoryHandle }) : {};

/** Rows `first ..` of a matrix. */
function matrix(segments: Segments, weight: WeightRef, first: number, count: number): Operand {
  const pitch = rowBytes(weight.dtype, weight.columnCount);
  return shared(addressOf(segments, weight.base) + first * pitch, count * pitch);
}

/** Columns `first ..` of a target `[T, columnCount]` of f32. */
function columns(
  { offsetBytes }: MemoryHandle,
  columnCount: number,
  first: number,
  count: number,
  use: Operand["use"],
): Operand {
  return { address: offsetBytes + first * 4, rowBytes: count * 4, pitchBytes: columnCount * 4, use };
}

export function gatherJob(op: OpOf<"gatherRows">, segments: Segments): Job {
  const { table, rowIds, target, accumulate } = op;
  return {
    operands: {
      table: matrix(segments, table, 0, table.rowCount),
      rowIds: perToken(rowIds, 4, "read"),
      target: perToken(target, table.columnCount * 4, accumulate ? "update" : "write"),
    },
    op: (places) => ({
      ...op,
      table: { ...table, base: places.table! },
      rowIds: places.rowIds!,
      target: places.target!,
    }),
  };
}

export function normJob(op: OpOf<"norm">, segments: Segments): Job {
  const lengthBytes = op.rowsPerToken * op.dim * 4;
  return {
    operands: {
      source: perToken(op.source, lengthBytes, "read"),
      target: perToken(op.target, lengthBytes, "write"),
      ...vector(segments, "weight", op.weight, op.dim),
      ...vector(segments, "bias", op.bias, op.dim),
    },
    op: (places) => ({
      ...op,
      source: places.source!,
      target: places.target!,
      weight: places.weight!,
      ...placed("bias", places),
    }),
  };
}

/** Rows `first ..` of the weight. */
export function matmulJob(op: OpOf<"matmul">, segments: Segments, first: number, count: number): Job {
  const { weight } = op;
  return {
    operands: {
      weight: matrix(segments, weight, first, count),
      source: perToken(op.source, weight.columnCount * 4, "read"),
      target: columns(op.target, weight.rowCount, first, count, op.accumulate ? "update" : "write"),
      ...vector(segments, "bias", op.bias, count, first),
    },
    op: (places) => ({
      ...op,
      weight: { ...weight, rowCount: count, base: places.weight! },
      source: places.source!,
      target: places.target!,
      ...placed("bias", places),
    }),
  };
}

/** Neurons `first ..`. */
export function scoresJob(op: OpOf<"neuronScores">, segments: Segments, first: number, count: number): Job {
  const { gate, up } = op;
  return {
    operands: {
      gate: matrix(segments, gate, first, count),
      ...(up && op.kind !== "gate" ? { up: matrix(segments, up, first, count) } : {}),
      ...vector(segments, "downNorm", op.kind === "contribution" ? op.downNorm : undefined, count, first),
      source: perToken(op.source, gate.columnCount * 4, "read"),
      scores: columns(op.scores, gate.rowCount, first, count, "write"),
    },
    op: (places) => ({
      ...op,
      gate: { ...gate, rowCount: count, base: places.gate! },
      ...(up ? { up: { ...up, rowCount: count, base: places.up ?? places.gate! } } : {}),
      ...placed("downNorm", places),
      source: places.source!,
      scores: places.scores!,
    }),
  };
}

export function ropeJob(op: OpOf<"rope">, segments: Segments): Job {
  const rowBytes = op.rotaryDim * 4;
  const position = segments.word(op.position.offsetBytes);
  return {
    operands: {
      vector: perToken(op.vector, op.headCount * op.headDim * 4, "update"),
      table: { address: op.table.offsetBytes + position * rowBytes, rowBytes, use: "read" },
    },
    // The table's rows begin with that of the first token.
    words: () => ({ position: 0 }),
    op: (places) => ({
      ...op,
      position: places.position!,
      vector: places.vector!,
      table: places.table!,
    }),
  };
}

/** Elements of `[T, dim]`: each a token of its own, so that rows of any length can be cut. */
export function elementsJob(op: OpOf<"add" | "copy" | "softCap">): Job {
  if (op.op === "softCap") {
    return {
      operands: { vector: perToken(op.vector, 4, "update") },
      op: (places) => ({ ...op, dim: 1, vector: places.vector! }),
    };
  }
  return {
    operands: {
      source: perToken(op.source, 4, "read"),
      target: perToken(op.target, 4, op.op === "add" ? "update" : "write"),
    },
    op: (places) => ({ ...op, dim: 1, source: places.source!, target: places.target! }),
  };
}

export function softmaxJob(op: OpOf<"softmax">): Job {
  return {
    operands: { vector: perToken(op.vector, op.dim * 4, "update") },
    op: (places) => ({ ...op, vector: places.vector! }),
  };
}

export function argmaxJob(op: OpOf<"argmax">): Job {
  return {
    operands: {
      source: perToken(op.source, op.dim * 4, "read"),
      target: perToken(op.target, 4, "write"),
    },
    op: (places) => ({ ...op, source: places.source!, target: places.target! }),
  };
}

export function convertJob(op: OpOf<"convert">): Job {
  return {
    operands: {
      source: perToken(op.source, rowBytes(op.sourceDtype, op.dim), "read"),
      target: perToken(op.target, rowBytes(op.targetDtype, op.dim), "write"),
    },
    op: (places) => ({ ...op, source: places.source!, target: places.target! }),
  };
}

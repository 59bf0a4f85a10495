import type { ByteCount, ByteOffset } from "./units.js";

/**
 * Names memory without saying what it is: a WASM memory, a native allocation, a GPU buffer.
 * Interfaces pass handles; only the owner of an arena turns one into bytes.
 */
export interface MemoryHandle {
  readonly arenaId: number;
  readonly offsetBytes: ByteOffset;
}

/** One contiguous memory. `bytes` is the host's view of it (over a SharedArrayBuffer), absent where the host cannot see it. */
export interface MemoryArena {
  readonly arenaId: number;
  readonly lengthBytes: ByteCount;
  readonly bytes?: Uint8Array;
}

/**
 * A dtype of weights on flash and in memory. The last three are ggml's blocks of 32 along a row: q8_0 is a f16 scale d and 32 int8 q (34 bytes, d * q),
 * q4_0 a f16 scale and 16 bytes of nibbles (18 bytes, d * (q - 8)), q4_1 a f16 scale, a f16 minimum m and 16 bytes of nibbles (20 bytes, d * q + m).
 */
export type WeightDtype = "f32" | "f16" | "bf16" | "q8_0" | "q4_0" | "q4_1";

/** True for dtypes whose rows are whole blocks of 32 weights with a scale. */
export function isBlockDtype(dtype: WeightDtype): boolean {
  return dtype === "q8_0" || dtype === "q4_0" || dtype === "q4_1";
}

/**
 * dtype of a resident tensor of a bundle whose residents have a dtype of their own: attention projections, token embedding and head are stored in
 * `residentDtype`, those whose rows are not whole blocks in f16. Null for what follows the rest of the bundle: vectors (norms, biases) and positions.
 */
export function residentMatrixDtype(
  residentDtype: WeightDtype,
  {
    name,
    rowCount,
    columnCount,
  }: { readonly name: string; readonly rowCount: number; readonly columnCount: number },
): WeightDtype | null {
  if (rowCount === 1 || name === "position.weight") return null;
  return isBlockDtype(residentDtype) && columnCount % 32 !== 0 ? "f16" : residentDtype;
}

/** Bytes of one row of `elementCount` weights. Block dtypes need a multiple of 32. */
export function rowBytes(dtype: WeightDtype, elementCount: number): ByteCount {
  switch (dtype) {
    case "f32":
      return elementCount * 4;
    case "f16":
    case "bf16":
      return elementCount * 2;
    case "q8_0":
      return (elementCount / 32) * 34;
    case "q4_0":
      return (elementCount / 32) * 18;
    case "q4_1":
      return (elementCount / 32) * 20;
  }
}

/** Rounds up to a multiple. */
export function alignUp(value: number, multiple: number): number {
  return Math.ceil(value / multiple) * multiple;
}

/** Named reservations that may not exceed a limit. */
export interface MemoryBudget {
  readonly contractVersion: 1;
  readonly limitBytes: ByteCount;
  /** @throws BUDGET_EXCEEDED with the wanted and free bytes and the largest owners. */
  reserve(owner: string, lengthBytes: ByteCount): MemoryReservation;
  /** Bytes not yet reserved. */
  freeBytes(): ByteCount;
  /** Live reservations, largest first. */
  report(): readonly { readonly owner: string; readonly lengthBytes: ByteCount }[];
}

/** A live reservation; `release` is idempotent. */
export interface MemoryReservation {
  readonly owner: string;
  readonly lengthBytes: ByteCount;
  /** Gives the bytes back to the budget. */
  release(): void;
}

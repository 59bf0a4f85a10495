import type {
  CacheDtype,
  DotPrecision,
  MemoryHandle,
  RecordLayout,
  VectorRef,
  WeightDtype,
  WeightRef,
} from "@flashlm/contracts";
import { FlashlmError, isBlockDtype, rowBytes } from "@flashlm/contracts";

/** Counts are kept below this, so that products of two fit f64 exactly and one fits an i32. */
const COUNT_MAX = 2 ** 31 - 1;

const CACHE_DTYPES: readonly CacheDtype[] = ["f32", "f16", "q8_0"];
const WEIGHT_DTYPES: readonly WeightDtype[] = ["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1"];

/** Checks pieces of ops against the memory they will run in. Every method throws KERNEL_SHAPE. */
export class ValueChecker {
  readonly #memoryBytes: number;
  readonly #columnCountMax: number;
  readonly #opName: string;

  constructor(opName: string, memoryBytes: number, columnCountMax: number) {
    this.#opName = opName;
    this.#memoryBytes = memoryBytes;
    this.#columnCountMax = columnCountMax;
  }

  /** Fails with what was expected and what came. */
  fail(expected: string, got: string | number): never {
    throw new FlashlmError("KERNEL_SHAPE", `${this.#opName}: expected ${expected}, got ${got}`, {
      op: this.#opName,
    });
  }

  /** A positive whole number. */
  count(name: string, value: number, most: number = COUNT_MAX): void {
    if (!Number.isSafeInteger(value) || value < 1 || value > most)
      this.fail(`${name} from 1 to ${most}`, value);
  }

  /** A handle with at least `lengthBytes` behind it. */
  handle(name: string, handle: MemoryHandle, lengthBytes: number, alignmentBytes: number = 4): void {
    const { arenaId, offsetBytes } = handle;
    if (arenaId !== 0) this.fail(`${name} in arena 0`, `arena ${arenaId}`);
    if (!Number.isSafeInteger(offsetBytes) || offsetBytes < 1 || offsetBytes % alignmentBytes !== 0) {
      this.fail(`${name} at a positive multiple of ${alignmentBytes} bytes`, offsetBytes);
    }
    if (offsetBytes + lengthBytes > this.#memoryBytes) {
      this.fail(
        `${name} of ${lengthBytes} bytes within memory of ${this.#memoryBytes}`,
        `offset ${offsetBytes}`,
      );
    }
  }

  /** A fixed or moving base. */
  base(name: string, base: VectorRef, lengthBytes: number, alignmentBytes: number): void {
    if (!("addressWord" in base)) {
      this.handle(name, base, lengthBytes, alignmentBytes);
      return;
    }
    this.handle(`address word of ${name}`, base.addressWord, 4);
    const { offsetBytes } = base;
    if (
      !Number.isSafeInteger(offsetBytes) ||
      offsetBytes < 0 ||
      offsetBytes + lengthBytes > this.#memoryBytes
    ) {
      this.fail(`${name} of ${lengthBytes} bytes within memory`, `offset ${offsetBytes}`);
    }
    if (offsetBytes % alignmentBytes !== 0) this.fail(`${name} on ${alignmentBytes} bytes`, offsetBytes);
  }

  /** A number that is not infinite. */
  finite(name: string, value: number): void {
    if (!Number.isFinite(value)) this.fail(`a finite ${name}`, value);
  }

  /** A finite number above 0, still so as f32. */
  positive(name: string, value: number): void {
    if (!(Math.fround(value) > 0 && Number.isFinite(Math.fround(value))))
      this.fail(`a ${name} above 0`, value);
  }

  /** A precision that is known. */
  precision(precision: DotPrecision | undefined): void {
    if (precision !== undefined && precision !== "f32" && precision !== "q8") {
      this.fail('a precision "f32" or "q8"', String(precision));
    }
  }

  /** Bytes of `count` cached values; whole blocks where the dtype has blocks. */
  cacheRow(name: string, given: CacheDtype | undefined, count: number): number {
    const dtype = given ?? "f32";
    if (!CACHE_DTYPES.includes(dtype)) this.fail(`a cacheDtype of ${CACHE_DTYPES.join(", ")}`, String(dtype));
    if (isBlockDtype(dtype) && count % 32 !== 0)
      this.fail(`${name} to be a multiple of 32 (${dtype})`, count);
    return rowBytes(dtype, count);
  }

  /** A vector of f32. */
  vector(name: string, base: VectorRef | undefined, elementCount: number): void {
    if (base !== undefined) this.base(name, base, elementCount * 4, 4);
  }

  /** A row of weights. */
  row(name: string, dtype: WeightDtype, columnCount: number): void {
    if (!WEIGHT_DTYPES.includes(dtype)) {
      throw new FlashlmError(
        "KERNEL_NOT_SUPPORTED",
        `${this.#opName}: expected ${name} of dtype ${WEIGHT_DTYPES.join(", ")}, got ${dtype}`,
        { op: this.#opName, dtype },
      );
    }
    this.count(`columns of ${name}`, columnCount, this.#columnCountMax);
    if (isBlockDtype(dtype) && columnCount % 32 !== 0) {
      this.fail(`a multiple of 32 columns in ${name} (${dtype})`, columnCount);
    }
  }

  /** A weight matrix. */
  weight(name: string, weight: WeightRef): void {
    this.row(name, weight.dtype, weight.columnCount);
    this.count(`rows of ${name}`, weight.rowCount);
    const lengthBytes = weight.rowCount * rowBytes(weight.dtype, weight.columnCount);
    this.base(name, weight.base, lengthBytes, weight.dtype === "f32" ? 4 : 2);
  }

  /** A record layout whose parts lie within the stride. */
  layout(layout: RecordLayout): void {
    this.count("strideBytes", layout.strideBytes);
    if (layout.strideBytes % 16 !== 0) this.fail("strideBytes to be a multiple of 16", layout.strideBytes);
    for (const { part, dtype, offsetBytes } of layout.parts) {
      this.row(part, dtype, layout.hiddenSize);
      if (!Number.isSafeInteger(offsetBytes) || offsetBytes < 0 || offsetBytes % 4 !== 0) {
        this.fail(`${part} at a multiple of 4 bytes`, offsetBytes);
      }
      if (offsetBytes + rowBytes(dtype, layout.hiddenSize) > layout.strideBytes) {
        this.fail(`${part} within a record of ${layout.strideBytes} bytes`, `offset ${offsetBytes}`);
      }
    }
  }
}

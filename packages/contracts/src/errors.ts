/** Every code an error of flashlm can carry. The list is closed; a new code is a minor release. */
export const ERROR_CODES = [
  "FLASH_SHORT_READ",
  "FLASH_OUT_OF_RANGE",
  "FLASH_UNALIGNED",
  "FLASH_CLOSED",
  "FLASH_ABORTED",
  "FLASH_IO",
  "FLASH_OPEN",
  "FLASH_BACKEND",
  "FLASH_MEASURE",
  "FLASH_DISK_FULL",
  "FLASH_PROFILE_FORMAT",
  "FLASH_PROFILE_VERSION",
  "CHECKPOINT_NOT_FOUND",
  "CHECKPOINT_FORMAT",
  "CHECKPOINT_TRUNCATED",
  "CHECKPOINT_LIMIT",
  "CHECKPOINT_MISSING_SHARD",
  "CHECKPOINT_MISSING_TENSOR",
  "CHECKPOINT_SHAPE",
  "CHECKPOINT_DTYPE",
  "CHECKPOINT_UNSUPPORTED",
  "TOKENIZER_FORMAT",
  "TOKENIZER_UNSUPPORTED",
  "BUNDLE_NOT_FOUND",
  "BUNDLE_FORMAT",
  "BUNDLE_VERSION",
  "BUNDLE_LIMIT",
  "BUNDLE_TRUNCATED",
  "BUNDLE_CHECKSUM",
  "BUNDLE_UNKNOWN_TENSOR",
  "BUNDLE_DTYPE",
  "BUNDLE_WRITE",
  "BUNDLE_BUSY",
  "SYNTHETIC_OPTION",
  "SYNTHETIC_WRITE",
  "KERNEL_NOT_SUPPORTED",
  "KERNEL_SHAPE",
  "KERNEL_MEMORY",
  "KERNEL_LOAD",
  "PREDICTOR_SHAPE",
  "PREDICTOR_OPTION",
  "PREDICTOR_NOT_AVAILABLE",
  "CACHE_FULL",
  "CACHE_DUPLICATE_ID",
  "CACHE_RANGE",
  "CACHE_LEASED",
  "CACHE_CLOSED",
  "TRACE_FORMAT",
  "TRACE_LIMIT",
  "BUDGET_EXCEEDED",
  "BUDGET_TOO_SMALL",
  "ENGINE_BUSY",
  "ENGINE_CLOSED",
  "ENGINE_CONTEXT_FULL",
  "ENGINE_OPTION",
  "ENGINE_CONTRACT",
  "ENGINE_ABORTED",
  "ENGINE_DRAFT",
] as const;

/** One of {@link ERROR_CODES}. */
export type ErrorCode = (typeof ERROR_CODES)[number];

/** Facts that belong to an error; numbers carry their unit in the key. */
export type ErrorDetails = Readonly<
  Record<string, string | number | boolean | readonly string[] | undefined>
>;

const MARKER: symbol = Symbol.for("flashlm.error");

/**
 * The one error class of flashlm. `code` is stable; the message says what was expected, what came
 * and what to do. Use {@link FlashlmError.isInstance} rather than `instanceof`: two copies of the
 * package may be installed.
 */
export class FlashlmError extends Error {
  /** Stable identifier of the fault. */
  readonly code: ErrorCode;
  /** Facts for programs; the message holds the same for people. */
  readonly details: ErrorDetails;

  /** @param cause - the underlying error, if any. */
  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "FlashlmError";
    this.code = code;
    this.details = details;
    Object.defineProperty(this, MARKER, { value: true });
  }

  /** True for any error of flashlm, whichever copy of this package made it. */
  static isInstance(value: unknown): value is FlashlmError {
    return typeof value === "object" && value !== null && (value as Record<symbol, unknown>)[MARKER] === true;
  }
}

/** Stops on a programmer's error (a broken invariant of ours, never a user's input). */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new Error(`assertion failed: ${message}`);
}

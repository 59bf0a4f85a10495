import { FlashlmError } from "@flashlm/contracts";
import type { PositionalFile } from "./positional-file.js";

/** The limit of the reference implementation. */
const HEADER_BYTES_MAX = 100_000_000;
/** Mixtures of experts have up to about 60,000 tensors. */
const TENSOR_COUNT_MAX = 262_144;
/** Beyond any tensor of a language model. */
const DIMENSION_COUNT_MAX = 8;

/** Bytes of one element; types that are not here are refused only where the model needs such a tensor. */
const ELEMENT_BYTES: Readonly<Record<string, number>> = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U64: 8,
  U32: 4,
  U16: 2,
  U8: 1,
  BOOL: 1,
  F8_E4M3: 1,
  F8_E5M2: 1,
};

/** A tensor as a safetensors header describes it. */
export interface SafetensorsEntry {
  readonly name: string;
  readonly type: string;
  readonly shape: readonly number[];
  /** From the start of the file. */
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

function fail(path: string, what: string): never {
  throw new FlashlmError("CHECKPOINT_FORMAT", `${path} ${what}; the file is damaged or not safetensors`, {
    path,
  });
}

function truncated(file: PositionalFile, what: string, wantedBytes: number): never {
  throw new FlashlmError(
    "CHECKPOINT_TRUNCATED",
    `${file.path} ends at ${file.sizeBytes} bytes, but ${what} needs ${wantedBytes}; download it again`,
    { path: file.path, wantedBytes, foundBytes: file.sizeBytes },
  );
}

function readHeader(file: PositionalFile): { header: Record<string, unknown>; dataBegin: number } {
  if (file.sizeBytes < 8) truncated(file, "the header's length", 8);
  const lengthBytes = new DataView(new ArrayBuffer(8));
  file.readInto(new Uint8Array(lengthBytes.buffer), 0);
  const headerBytes = Number(lengthBytes.getBigUint64(0, true));
  if (headerBytes > HEADER_BYTES_MAX) {
    throw new FlashlmError(
      "CHECKPOINT_LIMIT",
      `${file.path} claims a header of ${headerBytes} bytes; at most ${HEADER_BYTES_MAX}`,
      { path: file.path, headerBytes, limitBytes: HEADER_BYTES_MAX },
    );
  }
  if (8 + headerBytes > file.sizeBytes) truncated(file, "its header", 8 + headerBytes);
  const text = Buffer.alloc(headerBytes);
  file.readInto(text, 8);
  let header: unknown;
  try {
    header = JSON.parse(text.toString("utf8"));
  } catch {
    fail(file.path, "has a header that is not JSON");
  }
  if (typeof header !== "object" || header === null || Array.isArray(header))
    fail(file.path, "has a header that is not an object");
  return { header: header as Record<string, unknown>, dataBegin: 8 + headerBytes };
}

function isSize(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

function readEntry(file: PositionalFile, name: string, value: unknown, dataBegin: number): SafetensorsEntry {
  const { dtype, shape, data_offsets: offsets } = (value ?? {}) as Record<string, unknown>;
  if (typeof dtype !== "string") fail(file.path, `gives ${name} no dtype`);
  if (!Array.isArray(shape) || shape.length > DIMENSION_COUNT_MAX || !shape.every(isSize))
    fail(file.path, `gives ${name} no shape of at most ${DIMENSION_COUNT_MAX} sizes`);
  if (!Array.isArray(offsets) || offsets.length !== 2 || !isSize(offsets[0]) || !isSize(offsets[1]))
    fail(file.path, `gives ${name} no data_offsets`);
  const [begin, end] = offsets as [number, number];
  if (begin > end) fail(file.path, `lets ${name} end before it begins`);
  if (dataBegin + end > file.sizeBytes) truncated(file, name, dataBegin + end);
  const elementBytes = Object.hasOwn(ELEMENT_BYTES, dtype) ? ELEMENT_BYTES[dtype]! : null;
  const lengthBytes = end - begin;
  if (elementBytes !== null && (shape as number[]).reduce((a, b) => a * b, elementBytes) !== lengthBytes) {
    throw new FlashlmError(
      "CHECKPOINT_SHAPE",
      `${file.path}: ${name} of shape [${shape.join(", ")}] as ${dtype} does not take the ${lengthBytes} bytes it has`,
      { path: file.path, name, lengthBytes },
    );
  }
  return { name, type: dtype, shape: shape as number[], offsetBytes: dataBegin + begin, lengthBytes };
}

/**
 * Reads the header of a safetensors file and checks every extent. No tensor data is read.
 * @throws CHECKPOINT_FORMAT, CHECKPOINT_LIMIT, CHECKPOINT_TRUNCATED, CHECKPOINT_SHAPE, FLASH_IO.
 */
export function readSafetensorsHeader(file: PositionalFile): SafetensorsEntry[] {
  const { header, dataBegin } = readHeader(file);
  const names = Object.keys(header).filter((name) => name !== "__metadata__");
  if (names.length > TENSOR_COUNT_MAX) {
    throw new FlashlmError(
      "CHECKPOINT_LIMIT",
      `${file.path} has ${names.length} tensors; at most ${TENSOR_COUNT_MAX}`,
      { path: file.path, count: names.length, limit: TENSOR_COUNT_MAX },
    );
  }
  const entries = names.map((name) => readEntry(file, name, header[name], dataBegin));
  const sorted = [...entries].sort((a, b) => a.offsetBytes - b.offsetBytes || a.lengthBytes - b.lengthBytes);
  for (let index = 1; index < sorted.length; index++) {
    const before = sorted[index - 1]!;
    if (before.offsetBytes + before.lengthBytes > sorted[index]!.offsetBytes)
      fail(file.path, `lets ${before.name} and ${sorted[index]!.name} overlap`);
  }
  return entries;
}

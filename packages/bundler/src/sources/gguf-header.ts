import { FlashlmError } from "@flashlm/contracts";
import { SOURCE_TYPES } from "../codecs/index.js";
import { GgufCursor } from "./gguf-cursor.js";
import type { PositionalFile } from "./positional-file.js";

/** Limits on a header. Each is far above published files and keeps a hostile one to some hundred MB of memory. */
const LIMITS = {
  /** A vocabulary of 256k tokens with its merges takes about 20 MB. */
  headerBytes: 256 * 2 ** 20,
  /** Published files have about 30 keys; splits and templates add a few. */
  metadataCount: 16_384,
  /** Mixtures of experts in the old form have about 10,000 tensors. */
  tensorCount: 65_536,
  /** Keys and tensor names; the format's own limits are 65,535 and 64 bytes. */
  nameBytes: 1024,
  /** Chat templates are some tens of kB. */
  stringBytes: 16 * 2 ** 20,
  /** Elements of all arrays together; a vocabulary of 256k tokens has four arrays. */
  arrayElementCount: 8_000_000,
  /** The format allows arrays of arrays; no known key nests them. */
  arrayDepth: 4,
  /** ggml has four dimensions. */
  dimensionCount: 4,
} as const;

/** Names of ggml's tensor types by number; those that {@link SOURCE_TYPES} lacks are refused by name where needed. */
const TENSOR_TYPES: Readonly<Record<number, string>> = {
  0: "F32",
  1: "F16",
  2: "Q4_0",
  3: "Q4_1",
  6: "Q5_0",
  7: "Q5_1",
  8: "Q8_0",
  9: "Q8_1",
  10: "Q2_K",
  11: "Q3_K",
  12: "Q4_K",
  13: "Q5_K",
  14: "Q6_K",
  15: "Q8_K",
  16: "IQ2_XXS",
  17: "IQ2_XS",
  18: "IQ3_XXS",
  19: "IQ1_S",
  20: "IQ4_NL",
  21: "IQ3_S",
  22: "IQ2_S",
  23: "IQ4_XS",
  24: "I8",
  25: "I16",
  26: "I32",
  27: "I64",
  28: "F64",
  29: "IQ1_M",
  30: "BF16",
  34: "TQ1_0",
  35: "TQ2_0",
  39: "MXFP4",
};

const VALUE_READERS: Readonly<Record<number, { bytes: number; read: (cursor: GgufCursor) => unknown }>> = {
  0: { bytes: 1, read: (cursor) => cursor.u8() },
  1: { bytes: 1, read: (cursor) => cursor.i8() },
  2: { bytes: 2, read: (cursor) => cursor.u16() },
  3: { bytes: 2, read: (cursor) => cursor.i16() },
  4: { bytes: 4, read: (cursor) => cursor.u32() },
  5: { bytes: 4, read: (cursor) => cursor.i32() },
  6: { bytes: 4, read: (cursor) => cursor.f32() },
  7: { bytes: 1, read: (cursor) => cursor.u8() !== 0 },
  10: { bytes: 8, read: (cursor) => cursor.u64() },
  11: { bytes: 8, read: (cursor) => cursor.i64() },
  12: { bytes: 8, read: (cursor) => cursor.f64() },
};
/** "GGUF", and "PWRI" as PowerInfer writes over it; everything behind is alike. */
const MAGICS: ReadonlySet<number> = new Set([0x46554747, 0x49525750]);
const STRING_TYPE = 8;
const ARRAY_TYPE = 9;

/** A tensor as the header describes it. */
export interface GgufTensor {
  readonly name: string;
  readonly type: string;
  /** Row-major: the file's dimensions reversed. */
  readonly shape: readonly number[];
  /** From the start of the file. */
  readonly offsetBytes: number;
  /** Checked to lie within the file; 0 for types that cannot be read. */
  readonly lengthBytes: number;
}

/** The decoded header of one GGUF file. */
export interface GgufHeader {
  readonly version: number;
  /** No prototype, so that keys cannot meet it. */
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly tensors: readonly GgufTensor[];
}

class HeaderParser {
  readonly #cursor: GgufCursor;
  readonly #path: string;
  readonly #sizeBytes: number;
  #arrayElementCount = 0;

  constructor(file: PositionalFile) {
    this.#cursor = new GgufCursor(file, LIMITS.headerBytes);
    this.#path = file.path;
    this.#sizeBytes = file.sizeBytes;
  }

  parse(): GgufHeader {
    const cursor = this.#cursor;
    if (!MAGICS.has(cursor.u32())) this.#fail("does not begin with GGUF");
    const version = cursor.u32();
    if (version !== 2 && version !== 3) {
      const isBigEndian = version > 0xffffff;
      throw new FlashlmError(
        "CHECKPOINT_UNSUPPORTED",
        `${this.#path} is GGUF ${isBigEndian ? "for big-endian machines" : `version ${version}`}; versions 2 and 3, little-endian, can be read`,
        { path: this.#path, version },
      );
    }
    const tensorCount = this.#count("tensors", LIMITS.tensorCount, 24);
    const metadataCount = this.#count("metadata keys", LIMITS.metadataCount, 13);
    const metadata: Record<string, unknown> = Object.create(null);
    for (let index = 0; index < metadataCount; index++) {
      const key = this.#string(LIMITS.nameBytes);
      if (key in metadata) this.#fail(`has the key ${JSON.stringify(key)} twice`);
      metadata[key] = this.#value(cursor.u32(), 0);
    }
    const alignment = metadata["general.alignment"] ?? 32;
    if (typeof alignment !== "number" || alignment < 8 || alignment > 2 ** 24 || alignment % 8 !== 0)
      this.#fail(`has general.alignment ${String(alignment)}, expected a multiple of 8`);
    const found: Omit<GgufTensor, "lengthBytes">[] = [];
    for (let index = 0; index < tensorCount; index++) found.push(this.#tensor());
    const dataBegin = Math.ceil(cursor.positionBytes / (alignment as number)) * (alignment as number);
    return { version, metadata, tensors: this.#place(found, dataBegin) };
  }

  #fail(what: string): never {
    throw new FlashlmError(
      "CHECKPOINT_FORMAT",
      `${this.#path} ${what}; the file is damaged or not a GGUF model`,
      { path: this.#path, positionBytes: this.#cursor.positionBytes },
    );
  }

  #limit(what: string, count: number, limit: number): void {
    if (count <= limit) return;
    throw new FlashlmError("CHECKPOINT_LIMIT", `${this.#path} claims ${count} ${what}; at most ${limit}`, {
      path: this.#path,
      count,
      limit,
    });
  }

  /** A count of items of at least `itemBytes`, so that no loop runs far past the end of the file. */
  #count(what: string, limit: number, itemBytes: number): number {
    const count = this.#cursor.length();
    this.#limit(what, count, limit);
    if (count * itemBytes > this.#cursor.remainingBytes) {
      throw new FlashlmError(
        "CHECKPOINT_TRUNCATED",
        `${this.#path} claims ${count} ${what}, more than its ${this.#sizeBytes} bytes can hold; download it again`,
        { path: this.#path, count, foundBytes: this.#sizeBytes },
      );
    }
    return count;
  }

  #string(limitBytes: number): string {
    return this.#cursor.utf8(this.#count("bytes of a string", limitBytes, 1));
  }

  #value(type: number, depth: number): unknown {
    if (type === STRING_TYPE) return this.#string(LIMITS.stringBytes);
    if (type !== ARRAY_TYPE) {
      const reader = VALUE_READERS[type];
      return reader === undefined
        ? this.#fail(`has a metadata value of type ${type}`)
        : reader.read(this.#cursor);
    }
    this.#limit("nested arrays", depth + 1, LIMITS.arrayDepth);
    const elementType = this.#cursor.u32();
    const itemBytes =
      elementType === STRING_TYPE ? 8 : elementType === ARRAY_TYPE ? 12 : VALUE_READERS[elementType]?.bytes;
    if (itemBytes === undefined) this.#fail(`has an array of type ${elementType}`);
    const count = this.#count("array elements", LIMITS.arrayElementCount, itemBytes);
    this.#arrayElementCount += count;
    this.#limit("array elements in all", this.#arrayElementCount, LIMITS.arrayElementCount);
    const values: unknown[] = [];
    for (let index = 0; index < count; index++) values.push(this.#value(elementType, depth + 1));
    return values;
  }

  /** One entry of the tensor table; `offsetBytes` is still relative to the data. */
  #tensor(): Omit<GgufTensor, "lengthBytes"> {
    const name = this.#string(LIMITS.nameBytes);
    const dimensionCount = this.#cursor.u32();
    this.#limit(`dimensions of ${name}`, dimensionCount, LIMITS.dimensionCount);
    const shape: number[] = [];
    for (let axis = 0; axis < dimensionCount; axis++) shape.unshift(this.#cursor.length());
    const elementCount = shape.reduce((product, size) => product * size, 1);
    if (dimensionCount === 0 || elementCount === 0 || !Number.isSafeInteger(elementCount))
      this.#fail(`gives ${name} the impossible shape [${shape.join(", ")}]`);
    const typeNumber = this.#cursor.u32();
    const type = TENSOR_TYPES[typeNumber] ?? `number ${typeNumber}`;
    return { name, type, shape, offsetBytes: this.#cursor.length() };
  }

  #place(found: readonly Omit<GgufTensor, "lengthBytes">[], dataBegin: number): GgufTensor[] {
    const tensors = found.map((tensor): GgufTensor => {
      const info = SOURCE_TYPES.get(tensor.type);
      const columnCount = tensor.shape.at(-1)!;
      if (info !== undefined && columnCount % info.blockElements !== 0)
        this.#fail(
          `gives ${tensor.name} rows of ${columnCount}, no multiple of ${info.blockElements} (${info.name})`,
        );
      const elementCount = tensor.shape.reduce((product, size) => product * size, 1);
      const lengthBytes = info === undefined ? 0 : (elementCount / info.blockElements) * info.blockBytes;
      const offsetBytes = dataBegin + tensor.offsetBytes;
      const end = offsetBytes + lengthBytes;
      if (end > this.#sizeBytes) {
        throw new FlashlmError(
          "CHECKPOINT_TRUNCATED",
          `${this.#path} ends at ${this.#sizeBytes} bytes, but ${tensor.name} needs ${end}; download it again`,
          { path: this.#path, tensor: tensor.name, wantedBytes: end, foundBytes: this.#sizeBytes },
        );
      }
      return { ...tensor, offsetBytes, lengthBytes };
    });
    const sorted = [...tensors].sort((a, b) => a.offsetBytes - b.offsetBytes);
    for (let index = 1; index < sorted.length; index++) {
      const before = sorted[index - 1]!;
      if (before.offsetBytes + before.lengthBytes > sorted[index]!.offsetBytes)
        this.#fail(`lets ${before.name} and ${sorted[index]!.name} overlap`);
    }
    if (new Set(tensors.map(({ name }) => name)).size !== tensors.length) this.#fail("names a tensor twice");
    return tensors;
  }
}

/**
 * Reads the header of a GGUF file of version 2 or 3. No tensor data is read; memory is bounded by named limits.
 * @throws CHECKPOINT_FORMAT, CHECKPOINT_LIMIT, CHECKPOINT_TRUNCATED, CHECKPOINT_UNSUPPORTED (version), FLASH_IO.
 */
export function readGgufHeader(file: PositionalFile): GgufHeader {
  return new HeaderParser(file).parse();
}

/** Version of the trace format that this package writes and reads (docs/formats/trace-v1.md). */
export const TRACE_VERSION = 1;

/** First bytes of a trace: "FLTRACE" and a line feed. */
export const TRACE_MAGIC: Uint8Array = Uint8Array.of(0x46, 0x4c, 0x54, 0x52, 0x41, 0x43, 0x45, 0x0a);

/** What a frame holds. Readers skip tags they do not know. */
export const FRAME: {
  /** A layer's units as gaps between ascending ids. */
  readonly gaps: 1;
  /** A layer's units as one bit each. */
  readonly bits: 2;
  /** Every unit of a layer. */
  readonly all: 3;
  /** The token is complete. */
  readonly token: 4;
  /** The trace is complete. */
  readonly end: 5;
} = { gaps: 1, bits: 2, all: 3, token: 4, end: 5 };

/** What a trace was recorded from. */
export interface TraceHeader {
  readonly formatVersion: typeof TRACE_VERSION;
  readonly unit: "neuron" | "expert";
  /** Units of each layer. */
  readonly layers: readonly { readonly unitCount: number }[];
  /** Bytes that a miss reads. */
  readonly recordBytes: number;
  /** Name of the model, for people. */
  readonly model: string;
  /** Predictor that named the units, for people. */
  readonly sparsity: string;
}

/** Longest encoding of a 32-bit number. */
export const VARINT_BYTES_MAX = 5;

/** Writes an unsigned number of up to 32 bits, 7 bits a byte, lowest first (LEB128). Returns the offset after it. */
export function writeVarint(target: Uint8Array, offset: number, value: number): number {
  let at = offset;
  let rest = value;
  while (rest >= 0x80) {
    target[at++] = (rest & 0x7f) | 0x80;
    rest = Math.floor(rest / 128);
  }
  target[at++] = rest;
  return at;
}

/** Bytes of {@link writeVarint}. */
export function varintBytes(value: number): number {
  let count = 1;
  for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 128)) count++;
  return count;
}

import { assert } from "@flashlm/contracts";
import {
  FRAME,
  TRACE_MAGIC,
  type TraceHeader,
  VARINT_BYTES_MAX,
  varintBytes,
  writeVarint,
} from "./trace-format.js";

/** Handed to the sink in pieces of about this; a longer frame makes a longer piece. */
const PIECE_BYTES = 256 * 1024;

/**
 * Writes which units each token names, layer by layer, in the format of docs/formats/trace-v1.md. Memory is bounded: one
 * buffer, handed over when it is full.
 */
export class TraceWriter {
  readonly #unitCounts: readonly number[];
  readonly #sink: (bytes: Uint8Array) => void;
  readonly #buffer: Uint8Array;
  #used = 0;
  #tokenCount = 0;
  #finished = false;

  /** @param sink - takes the bytes in order; borrows them for the call. */
  constructor(header: TraceHeader, sink: (bytes: Uint8Array) => void) {
    this.#unitCounts = header.layers.map((layer) => layer.unitCount);
    this.#sink = sink;
    const widest = Math.max(0, ...this.#unitCounts);
    this.#buffer = new Uint8Array(PIECE_BYTES + Math.ceil(widest / 8) + 4 * VARINT_BYTES_MAX);
    const json = new TextEncoder().encode(JSON.stringify(header));
    const start = new Uint8Array(TRACE_MAGIC.length + 4 + json.length);
    start.set(TRACE_MAGIC);
    new DataView(start.buffer).setUint32(TRACE_MAGIC.length, json.length, true);
    start.set(json, TRACE_MAGIC.length + 4);
    sink(start);
  }

  /** Complete tokens so far. */
  get tokenCount(): number {
    return this.#tokenCount;
  }

  /** The current token names these units of a layer: `count` ascending ids. */
  units(layerIndex: number, ids: Uint32Array, count: number): void {
    const unitCount = this.#unitCounts[layerIndex];
    assert(
      unitCount !== undefined && !this.#finished,
      "a trace takes units of its layers until it is finished",
    );
    const layerBytes = varintBytes(layerIndex);
    if (count === unitCount) {
      this.#head(FRAME.all, layerBytes);
      this.#used = writeVarint(this.#buffer, this.#used, layerIndex);
    } else {
      const bitBytes = Math.ceil(unitCount / 8);
      const gapBytes = this.#gapBytes(ids, count);
      if (gapBytes <= bitBytes)
        this.#gaps(layerIndex, ids, count, layerBytes + varintBytes(count) + gapBytes);
      else this.#bits(layerIndex, ids, count, layerBytes + bitBytes);
    }
    if (this.#used >= PIECE_BYTES) this.#flush();
  }

  /** The current token is complete. */
  endToken(): void {
    assert(!this.#finished, "a finished trace takes no tokens");
    this.#head(FRAME.token, 0);
    this.#tokenCount++;
    if (this.#used >= PIECE_BYTES) this.#flush();
  }

  /** Ends the trace and hands over what is left. Idempotent. */
  finish(): void {
    if (this.#finished) return;
    this.#finished = true;
    this.#head(FRAME.end, varintBytes(this.#tokenCount));
    this.#used = writeVarint(this.#buffer, this.#used, this.#tokenCount);
    this.#flush();
  }

  #head(tag: number, payloadBytes: number): void {
    this.#buffer[this.#used++] = tag;
    this.#used = writeVarint(this.#buffer, this.#used, payloadBytes);
  }

  #gapBytes(ids: Uint32Array, count: number): number {
    let lengthBytes = 0;
    let next = 0;
    for (let position = 0; position < count; position++) {
      lengthBytes += varintBytes(ids[position]! - next);
      next = ids[position]! + 1;
    }
    return lengthBytes;
  }

  #gaps(layerIndex: number, ids: Uint32Array, count: number, payloadBytes: number): void {
    this.#head(FRAME.gaps, payloadBytes);
    this.#used = writeVarint(this.#buffer, this.#used, layerIndex);
    this.#used = writeVarint(this.#buffer, this.#used, count);
    let next = 0;
    for (let position = 0; position < count; position++) {
      this.#used = writeVarint(this.#buffer, this.#used, ids[position]! - next);
      next = ids[position]! + 1;
    }
  }

  #bits(layerIndex: number, ids: Uint32Array, count: number, payloadBytes: number): void {
    this.#head(FRAME.bits, payloadBytes);
    this.#used = writeVarint(this.#buffer, this.#used, layerIndex);
    const bitBytes = Math.ceil(this.#unitCounts[layerIndex]! / 8);
    const bits = this.#buffer.subarray(this.#used, this.#used + bitBytes).fill(0);
    for (let position = 0; position < count; position++)
      bits[ids[position]! >>> 3]! |= 1 << (ids[position]! & 7);
    this.#used += bitBytes;
  }

  #flush(): void {
    if (this.#used > 0) this.#sink(this.#buffer.subarray(0, this.#used));
    this.#used = 0;
  }
}

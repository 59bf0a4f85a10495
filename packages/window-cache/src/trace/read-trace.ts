import { FlashlmError } from "@flashlm/contracts";
import { FRAME, TRACE_MAGIC, TRACE_VERSION, type TraceHeader } from "./trace-format.js";

/** Longer headers are no headers of ours: a layer takes about 20 bytes. */
const HEADER_BYTES_MAX = 1 << 20;
const LAYER_COUNT_MAX = 4096;
const UNIT_COUNT_MAX = 1 << 24;
/** Ids kept in memory: half a gigabyte of them at 4 bytes each. A longer trace is refused. */
const ID_COUNT_MAX = 1 << 27;

/** What one layer's tokens named. */
export interface TraceLayer {
  readonly unitCount: number;
  /** Where each token's ids begin in `ids`. `[tokenCount + 1]` */
  readonly starts: Uint32Array;
  /** Ascending within a token. */
  readonly ids: Uint16Array | Uint32Array;
}

/** A trace in memory. */
export interface Trace {
  readonly header: TraceHeader;
  readonly tokenCount: number;
  readonly layers: readonly TraceLayer[];
}

/**
 * Reads a trace from pieces of any length.
 *
 * @throws TRACE_FORMAT for bytes that are no trace, that end too early or hold what the header does not allow; TRACE_LIMIT for one
 * that names more than 134 million units.
 */
export async function readTrace(pieces: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<Trace> {
  const parser = new TraceParser();
  for await (const piece of pieces) parser.push(piece);
  return parser.finish();
}

/** A list of ids that doubles. */
class IdList {
  ids: Uint16Array | Uint32Array;
  count = 0;

  constructor(unitCount: number) {
    this.ids = unitCount <= 1 << 16 ? new Uint16Array(1024) : new Uint32Array(1024);
  }

  push(id: number): void {
    if (this.count === this.ids.length) {
      const longer = new (this.ids.constructor as typeof Uint32Array)(this.ids.length * 2);
      longer.set(this.ids);
      this.ids = longer;
    }
    this.ids[this.count++] = id;
  }
}

class TraceParser {
  #held: Uint8Array = new Uint8Array(0);
  #header: TraceHeader | null = null;
  #lists: IdList[] = [];
  readonly #starts: number[][] = [];
  #idCount = 0;
  #tokenCount = 0;
  #ended = false;

  push(piece: Uint8Array): void {
    const joined = new Uint8Array(this.#held.length + piece.length);
    joined.set(this.#held);
    joined.set(piece, this.#held.length);
    const cursor = new Cursor(joined);
    if (this.#header === null) this.#readHeader(cursor);
    if (this.#header !== null) while (this.#readFrame(cursor));
    this.#held = joined.slice(cursor.offset);
  }

  finish(): Trace {
    if (this.#header === null || !this.#ended) {
      throw damaged(
        `it ends after ${this.#tokenCount} tokens without its end mark. Record it again, and let the run end by itself`,
      );
    }
    if (this.#held.length > 0) throw damaged(`${this.#held.length} bytes follow its end mark`);
    const layers = this.#lists.map((list, layerIndex) => ({
      unitCount: this.#header!.layers[layerIndex]!.unitCount,
      starts: Uint32Array.from(this.#starts[layerIndex]!),
      ids: list.ids.slice(0, this.#starts[layerIndex]!.at(-1)),
    }));
    return { header: this.#header, tokenCount: this.#tokenCount, layers };
  }

  #readHeader(cursor: Cursor): void {
    const start = TRACE_MAGIC.length + 4;
    const bytes = cursor.bytes;
    for (let index = 0; index < Math.min(bytes.length, TRACE_MAGIC.length); index++)
      if (bytes[index] !== TRACE_MAGIC[index]) throw damaged("it does not begin with FLTRACE");
    if (bytes.length < start) return;
    const headerBytes = new DataView(bytes.buffer).getUint32(TRACE_MAGIC.length, true);
    if (headerBytes > HEADER_BYTES_MAX)
      throw damaged(`its header of ${headerBytes} bytes is longer than any`);
    if (bytes.length < start + headerBytes) return;
    this.#header = parseHeader(new TextDecoder().decode(bytes.subarray(start, start + headerBytes)));
    this.#lists = this.#header.layers.map((layer) => new IdList(layer.unitCount));
    for (const _ of this.#header.layers) this.#starts.push([0]);
    cursor.offset = start + headerBytes;
  }

  /** Takes one whole frame; false when more bytes are needed. */
  #readFrame(cursor: Cursor): boolean {
    const begin = cursor.offset;
    const tag = cursor.bytes[cursor.offset++];
    const payloadBytes = tag === undefined ? null : cursor.varint();
    if (payloadBytes === null || cursor.offset + payloadBytes > cursor.bytes.length) {
      cursor.offset = begin;
      if (payloadBytes !== null && payloadBytes > UNIT_COUNT_MAX)
        throw damaged("a frame is longer than any layer's units");
      return false;
    }
    if (this.#ended) throw damaged("frames follow its end mark");
    const payload = new Cursor(cursor.bytes.subarray(cursor.offset, cursor.offset + payloadBytes));
    cursor.offset += payloadBytes;
    if (tag === FRAME.token) this.#endToken();
    else if (tag === FRAME.end) this.#end(payload.number());
    else if (tag === FRAME.gaps || tag === FRAME.bits || tag === FRAME.all) this.#readUnits(tag, payload);
    return true;
  }

  #readUnits(tag: number, payload: Cursor): void {
    const layerIndex = payload.number();
    const list = this.#lists[layerIndex];
    if (list === undefined) throw damaged(`it names layer ${layerIndex} of ${this.#lists.length}`);
    // A layer that was begun again after an abort: what was named last counts.
    this.#idCount -= list.count - this.#starts[layerIndex]!.at(-1)!;
    list.count = this.#starts[layerIndex]!.at(-1)!;
    const { unitCount } = this.#header!.layers[layerIndex]!;
    const before = list.count;
    if (tag === FRAME.all) for (let unit = 0; unit < unitCount; unit++) list.push(unit);
    else if (tag === FRAME.bits) readBits(payload, unitCount, list);
    else readGaps(payload, unitCount, list);
    this.#idCount += list.count - before;
    if (this.#idCount > ID_COUNT_MAX) {
      throw new FlashlmError(
        "TRACE_LIMIT",
        `Expected a trace that names at most ${ID_COUNT_MAX} units but it names more by token ${this.#tokenCount}. Record fewer tokens.`,
        { idCountMax: ID_COUNT_MAX, tokenCount: this.#tokenCount },
      );
    }
  }

  #endToken(): void {
    this.#tokenCount++;
    for (const [layerIndex, list] of this.#lists.entries()) this.#starts[layerIndex]!.push(list.count);
  }

  #end(tokenCount: number): void {
    if (tokenCount !== this.#tokenCount)
      throw damaged(`its end mark counts ${tokenCount} tokens but it holds ${this.#tokenCount}`);
    this.#ended = true;
  }
}

function readGaps(payload: Cursor, unitCount: number, list: IdList): void {
  const count = payload.number();
  let next = 0;
  for (let position = 0; position < count; position++) {
    const id = next + payload.number();
    if (id >= unitCount) throw damaged(`it names unit ${id} of a layer of ${unitCount}`);
    list.push(id);
    next = id + 1;
  }
}

function readBits(payload: Cursor, unitCount: number, list: IdList): void {
  const bits = payload.bytes.subarray(payload.offset);
  if (bits.length !== Math.ceil(unitCount / 8))
    throw damaged(`${bits.length} bytes of bits for ${unitCount} units`);
  for (let unit = 0; unit < bits.length * 8; unit++) {
    if (((bits[unit >>> 3]! >>> (unit & 7)) & 1) === 0) continue;
    if (unit >= unitCount) throw damaged(`it names unit ${unit} of a layer of ${unitCount}`);
    list.push(unit);
  }
}

class Cursor {
  offset = 0;
  constructor(readonly bytes: Uint8Array) {}

  /** The next number, or null where the bytes end within it. */
  varint(): number | null {
    let value = 0;
    let factor = 1;
    for (let at = this.offset; at < this.bytes.length && at < this.offset + 5; at++) {
      value += (this.bytes[at]! & 0x7f) * factor;
      factor *= 128;
      if (this.bytes[at]! < 0x80) {
        this.offset = at + 1;
        return value;
      }
    }
    if (this.bytes.length - this.offset >= 5) throw damaged("a number takes more than 5 bytes");
    return null;
  }

  /** The next number of a whole payload. */
  number(): number {
    const value = this.varint();
    if (value === null) throw damaged("a frame ends within a number");
    return value;
  }
}

function parseHeader(json: string): TraceHeader {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (error) {
    throw damaged("its header is not JSON", error);
  }
  const header = value as Partial<TraceHeader> | null;
  if (header?.formatVersion !== TRACE_VERSION)
    throw damaged(`it has version ${String(header?.formatVersion)}, and this program reads ${TRACE_VERSION}`);
  const layersAreWhole =
    Array.isArray(header.layers) &&
    header.layers.length <= LAYER_COUNT_MAX &&
    header.layers.every(
      (layer) =>
        Number.isInteger(layer?.unitCount) && layer.unitCount >= 0 && layer.unitCount <= UNIT_COUNT_MAX,
    );
  const isWhole =
    layersAreWhole &&
    (header.unit === "neuron" || header.unit === "expert") &&
    Number.isInteger(header.recordBytes) &&
    (header.recordBytes ?? 0) > 0 &&
    typeof header.model === "string" &&
    typeof header.sparsity === "string";
  if (!isWhole) throw damaged("its header lacks fields, or they are out of range");
  return header as TraceHeader;
}

function damaged(what: string, cause?: unknown): FlashlmError {
  return new FlashlmError(
    "TRACE_FORMAT",
    `Expected a trace (docs/formats/trace-v1.md) but ${what}.`,
    {},
    cause,
  );
}

import {
  ADDRESS_UNIT_BYTES,
  type AdmitMode,
  type BundleIndex,
  type MemoryHandle,
  type NeuronCache,
  type NeuronLease,
  NO_SLOT,
  type ReadPlanner,
  TARGET_ANYWHERE,
} from "@flashlm/contracts";
import type { Flight } from "./flight.js";
import type { FlightReads } from "./flight-reads.js";
import { abandon } from "./read-into.js";
import type { RecordVerifier } from "./record-verifier.js";

/** Gaps up to this are taken for read along while a chunk is collected; longer ones may be, where the device favours it. */
const LIKELY_GAP_BYTES = 16 * 1024;

/** A layer whose records have been asked for; its chunks are submitted as flights become free. */
interface LayerLoad {
  readonly layerIndex: number;
  readonly lease: NeuronLease;
  readonly ids: Uint32Array;
  readonly early: Uint8Array | null;
  nextPosition: number;
  nextMiss: number;
  /** Its last chunk has been submitted. Also a layer of no records has one. */
  isSubmitted: boolean;
}

/** What the stream is made from. */
export interface RecordStreamParts {
  readonly bundle: BundleIndex;
  readonly planner: ReadPlanner;
  readonly cache: NeuronCache;
  readonly flights: readonly Flight[];
  readonly flightBytes: number;
  /** Memory of slot 0 of each layer. */
  readonly slotBase: readonly MemoryHandle[];
  readonly reads: FlightReads;
  readonly verifier: RecordVerifier;
}

/**
 * Brings neuron records to where the kernels can read them. A layer is split into chunks of ascending neurons that fit a flight's
 * staging; each chunk is leased, planned and submitted as soon as a flight is free, also ahead of the layer that computes.
 */
export class RecordStream {
  readonly #parts: RecordStreamParts;
  readonly #free: Flight[];
  readonly #queue: Flight[] = [];
  readonly #loads: LayerLoad[] = [];
  readonly #ids: Uint32Array[];
  readonly #reads: FlightReads;
  readonly #verifier: RecordVerifier;
  #idsTurn = 0;
  /** Milliseconds spent waiting for records, and on leases, plans and copies. */
  waitMs = 0;
  manageMs = 0;
  /** Records read over the whole run, and those of them that were asked for while another layer was open. */
  recordsRead = 0;
  recordsReadAhead = 0;

  constructor(parts: RecordStreamParts) {
    this.#parts = parts;
    const neuronCount = parts.bundle.manifest.model.ffn.neuronCount;
    this.#free = [...parts.flights];
    this.#ids = [new Uint32Array(neuronCount), new Uint32Array(neuronCount), new Uint32Array(neuronCount)];
    this.#reads = parts.reads;
    this.#verifier = parts.verifier;
  }

  /** Whether reads are under way. */
  get isReading(): boolean {
    return this.#queue.some((flight) => flight.pending !== null);
  }

  /** The layer that was begun last and is not finished, or -1. Layers are begun and finished in order. */
  get lastOpenLayer(): number {
    return this.#loads.at(-1)?.layerIndex ?? -1;
  }

  /** True when every chunk of every begun layer has been submitted and a flight is free: there is room to begin another layer. */
  get idle(): boolean {
    return (
      this.#free.length > 0 &&
      this.#loads.length < this.#ids.length &&
      this.#loads.every((load) => load.isSubmitted)
    );
  }

  /**
   * Asks for the records of a layer. `ids` ascending and `steps`, both as the cache takes them, are borrowed for the call. At most three layers are
   * open at once.
   *
   * @param early - by neuron, not 0 where the record is in its slot or on its way there, read early; borrowed until the layer is finished.
   */
  begin(
    layerIndex: number,
    ids: Uint32Array,
    count: number,
    admit: AdmitMode,
    { steps, early = null }: { steps?: Uint8Array; early?: Uint8Array | null } = {},
  ): void {
    const start = performance.now();
    const own = this.#ids[this.#idsTurn]!;
    this.#idsTurn = (this.#idsTurn + 1) % this.#ids.length;
    own.set(ids.subarray(0, count));
    const lease = this.#parts.cache.acquire(layerIndex, own, count, admit, steps);
    if (this.#loads.length > 0) this.recordsReadAhead += lease.missCount;
    this.#loads.push({
      layerIndex,
      lease,
      ids: own,
      early,
      nextPosition: 0,
      nextMiss: 0,
      isSubmitted: false,
    });
    this.pump();
    this.manageMs += performance.now() - start;
  }

  /** Submits chunks while flights are free. Never blocks. */
  pump(): void {
    for (const load of this.#loads) {
      while (this.#free.length > 0 && !load.isSubmitted) this.#submitChunk(load);
    }
  }

  /** Puts records that have landed where they belong, while something else is computed. Never blocks. */
  placeLanded(): void {
    const start = performance.now();
    for (const flight of this.#queue) this.#reads.placeLanded(flight);
    this.manageMs += performance.now() - start;
  }

  /** Whether a chunk's records are all there. Never blocks. */
  hasLanded(flight: Flight): boolean {
    this.#reads.placeLanded(flight);
    return flight.pending === null || flight.placedReads === flight.plan.readCount;
  }

  /** Next chunk in order, its hits ready to be computed. Null when the oldest layer has no more. */
  next(): Flight | null {
    return this.#queue[0] ?? null;
  }

  /** Blocks until the chunk's misses are in place and checked. @throws FLASH_*, BUNDLE_CHECKSUM. */
  async land(flight: Flight): Promise<void> {
    if (!flight.pending) return;
    const start = performance.now();
    flight.pending.waitAll();
    this.waitMs += performance.now() - start;
    flight.pending = null;
    const landed = performance.now();
    this.#reads.placeRest(flight);
    this.manageMs += performance.now() - landed;
    await this.#verifier.check(flight);
  }

  /** The chunk has been computed: its staging is free. Ends the layer's lease after its last chunk. */
  finish(flight: Flight): void {
    const start = performance.now();
    this.#queue.shift();
    this.#free.push(flight);
    if (flight.last) this.#loads.shift()?.lease.release();
    this.pump();
    this.manageMs += performance.now() - start;
  }

  /** Gives up everything that is under way, after an abort or an error. */
  reset(): void {
    for (const flight of this.#queue) {
      if (flight.pending) abandon(flight.pending);
      flight.pending = null;
    }
    this.#free.push(...this.#queue.splice(0));
    for (const load of this.#loads.splice(0)) load.lease.release({ loaded: false });
  }

  /**
   * Positions from `nextPosition` on whose misses should fit the staging; fills the wanted reads on the way. What is read straight into a slot needs none: a
   * record alone, where records are whole blocks.
   */
  #collect(load: LayerLoad, flight: Flight): number {
    const { bundle, flightBytes, planner, slotBase } = this.#parts;
    const gapBytesMax = Math.min(planner.gapBytesMax, LIKELY_GAP_BYTES);
    const { strideBytes } = bundle.manifest.record;
    const layerOffset = bundle.manifest.layers[load.layerIndex]!.offsetBytes;
    const { lease } = load;
    const isWhole = strideBytes % planner.alignmentBytes === 0 && layerOffset % planner.alignmentBytes === 0;
    const separateBytes = strideBytes + 2 * planner.alignmentBytes;
    let stagingBytes = separateBytes;
    let previousEnd = Number.NEGATIVE_INFINITY;
    let isPreviousDirect = false;
    this.#reads.clear();
    while (load.nextMiss < lease.missCount) {
      const position = lease.missPositions[load.nextMiss]!;
      const id = load.ids[position]!;
      const offsetBytes = layerOffset + id * strideBytes;
      const gap = offsetBytes - previousEnd;
      const slot = lease.slots[position]!;
      const joins = gap <= gapBytesMax;
      const isDirect = !joins && isWhole && slot !== NO_SLOT;
      if (joins) stagingBytes += gap + strideBytes + (isPreviousDirect ? separateBytes : 0);
      else if (!isDirect) stagingBytes += separateBytes;
      if (previousEnd > 0 && stagingBytes > flightBytes - 4 * planner.alignmentBytes) return position;
      isPreviousDirect = isDirect;
      const target =
        slot === NO_SLOT ? TARGET_ANYWHERE : slotBase[load.layerIndex]!.offsetBytes + slot * strideBytes;
      this.#reads.want(flight, position - load.nextPosition, offsetBytes, target, gap === 0);
      previousEnd = offsetBytes + strideBytes;
      load.nextMiss++;
    }
    return lease.count;
  }

  /** Collects a chunk and plans its reads; too large a chunk gives its last misses back. Returns the position behind it. */
  #planChunk(load: LayerLoad, flight: Flight): number {
    const end = this.#collect(load, flight);
    const droppedCount = this.#reads.plan(flight);
    if (droppedCount === 0) return end;
    load.nextMiss -= droppedCount;
    return load.nextPosition + flight.wantedPosition[this.#reads.extentCount]!;
  }

  #submitChunk(load: LayerLoad): void {
    const flight = this.#free.pop()!;
    const begin = load.nextPosition;
    const firstMiss = load.nextMiss;
    const end = this.#planChunk(load, flight);
    const missCount = load.nextMiss - firstMiss;
    flight.layerIndex = load.layerIndex;
    flight.count = end - begin;
    flight.last = end >= load.lease.count;
    load.isSubmitted = flight.last;
    flight.ids.set(load.ids.subarray(begin, end));
    const hitCount = flight.count - missCount;
    this.#listPositions(load, flight, begin, hitCount);
    flight.hitCount = hitCount;
    load.nextPosition = end;
    if (missCount > 0) {
      flight.pending = this.#reads.submit(flight, "demand");
      this.#verifier.arrange(flight);
      this.recordsRead += missCount;
    }
    this.#queue.push(flight);
  }

  /** Fills a flight's addresses of hits and its order: hits first, those that are read early at their end. */
  #listPositions(load: LayerLoad, flight: Flight, begin: number, hitCount: number): void {
    const { bundle, slotBase } = this.#parts;
    // Records and slots begin on whole units; products of units stay far below 2^53.
    const stride = bundle.manifest.record.strideBytes / ADDRESS_UNIT_BYTES;
    const base = slotBase[load.layerIndex]!.offsetBytes / ADDRESS_UNIT_BYTES;
    const { addresses, order, wantedPosition, wantedRecords, count } = flight;
    const { slots } = load.lease;
    const { extentCount } = this.#reads;
    let extent = 0;
    let ready = 0;
    let late = hitCount;
    let miss = hitCount;
    for (let position = 0; position < count; position++) {
      if (extent < extentCount && wantedPosition[extent]! <= position) {
        order[miss++] = position;
        if (position + 1 === wantedPosition[extent]! + wantedRecords[extent]!) extent++;
        continue;
      }
      addresses[position] = base + slots[begin + position]! * stride;
      if (load.early !== null && load.early[load.ids[begin + position]!] !== 0) order[--late] = position;
      else order[ready++] = position;
    }
    flight.readyCount = ready;
  }
}

import {
  type BundleIndex,
  type MemoryHandle,
  type NeuronCache,
  type NeuronLease,
  NO_SLOT,
} from "@flashlm/contracts";
import { awaitWanted, type EarlyOutcome, NOTHING_LOST } from "./early-reads.js";
import type { Flight } from "./flight.js";
import type { FlightReads } from "./flight-reads.js";
import { abandon } from "./read-into.js";
import type { RecordVerifier } from "./record-verifier.js";

/** What early reads are made with. */
export interface EarlyReadsParts {
  readonly bundle: BundleIndex;
  readonly cache: NeuronCache;
  readonly reads: FlightReads;
  readonly verifier: RecordVerifier;
  /** Memory of slot 0 of each layer. */
  readonly slotBase: readonly MemoryHandle[];
}

/** The early reads of one layer at a time: from the guess until they have landed or were given up. */
export class EarlyGuess {
  readonly #parts: EarlyReadsParts;
  readonly #flight: Flight;
  /** By neuron of the layer under way: 1 where it is read early, 2 where it is wanted, too. */
  readonly #early: Uint8Array;
  /** By position in the flight: position in the lease, and 1 for a record that is not in its slot. */
  readonly #leasePosition: Uint32Array;
  readonly #isLost: Uint8Array;
  /** By position in the lease: 1 where a slot was not filled. */
  readonly #unfilled: Uint8Array;
  #lease: NeuronLease | null = null;
  /** Records that are read early, those that are given up included. */
  #recordCount = 0;
  #outcome: EarlyOutcome = NOTHING_LOST;

  constructor(parts: EarlyReadsParts, flight: Flight) {
    this.#parts = parts;
    this.#flight = flight;
    const { neuronCount } = parts.bundle.manifest.model.ffn;
    this.#early = new Uint8Array(neuronCount);
    this.#leasePosition = new Uint32Array(neuronCount);
    this.#isLost = new Uint8Array(neuronCount);
    this.#unfilled = new Uint8Array(neuronCount);
  }

  /** Layer whose records are under way, or -1. */
  get layerIndex(): number {
    return this.#lease === null ? -1 : this.#flight.layerIndex;
  }

  /** Starts reading the guessed neurons of a layer that have no slot yet. `ids` ascending, borrowed for the call. Never blocks. */
  begin(layerIndex: number, ids: Uint32Array, count: number): void {
    const flight = this.#flight;
    const { reads } = this.#parts;
    flight.layerIndex = layerIndex;
    flight.hitCount = 0;
    // Reads that are not straight into slots need staging: as many of the first neurons as fit are read.
    for (let take = count; take > 0; ) {
      const lease = this.#lend(layerIndex, ids, take);
      const droppedCount = flight.count > 0 ? reads.plan(flight) : 0;
      if (flight.count > 0 && droppedCount === 0) {
        for (let record = 0; record < flight.count; record++) this.#early[flight.ids[record]!] = 1;
        this.#lease = lease;
        this.#recordCount = flight.count;
        flight.pending = reads.submit(flight, "speculative");
        this.#parts.verifier.arrange(flight);
        return;
      }
      const firstDropped = flight.ids[flight.count - droppedCount]!;
      lease.release({ loaded: false });
      if (droppedCount === 0) return;
      take = ids.subarray(0, take).indexOf(firstDropped);
    }
  }

  /** Leases the guess, and lists the misses that got slots as wanted by the flight. */
  #lend(layerIndex: number, ids: Uint32Array, count: number): NeuronLease {
    const flight = this.#flight;
    const { bundle, cache, reads, slotBase } = this.#parts;
    const { strideBytes } = bundle.manifest.record;
    const { offsetBytes } = bundle.manifest.layers[layerIndex]!;
    const base = slotBase[layerIndex]!.offsetBytes;
    const lease = cache.acquire(layerIndex, ids, count, "guess");
    reads.clear();
    flight.count = 0;
    for (let miss = 0; miss < lease.missCount; miss++) {
      const position = lease.missPositions[miss]!;
      const slot = lease.slots[position]!;
      if (slot === NO_SLOT) continue;
      const id = ids[position]!;
      const record = flight.count++;
      flight.ids[record] = id;
      flight.order[record] = record;
      this.#leasePosition[record] = position;
      reads.want(flight, record, offsetBytes + id * strideBytes, base + slot * strideBytes, false);
    }
    return lease;
  }

  /** Marks the real neurons among those that are read early. Returns the marks: by neuron, not 0 where it is read early; borrowed until {@link end}. */
  expect(ids: Uint32Array, count: number): Uint8Array {
    for (let position = 0; position < count; position++)
      if (this.#early[ids[position]!] === 1) this.#early[ids[position]!] = 2;
    return this.#early;
  }

  /** Blocks until what is expected has landed, and gives up what has not begun of the rest. @throws FLASH_*. */
  await(): EarlyOutcome {
    this.#outcome = awaitWanted(
      this.#flight,
      (record) => this.#early[this.#flight.ids[record]!] === 2,
      this.#isLost,
    );
    this.#flight.pending = null;
    return this.#outcome;
  }

  /** Puts what has landed into its slots, as far as that has not been done. */
  place(): void {
    this.#parts.reads.placeRest(this.#flight);
    if (this.#outcome.cancelledCount > 0) this.#dropLost();
  }

  /** Checks what has landed. @throws BUNDLE_CHECKSUM. */
  check(): Promise<void> {
    return this.#parts.verifier.check(this.#flight);
  }

  /** Ends the lease. Returns how many records were read early, and how many of them are used. */
  end(): { readonly recordCount: number; readonly usedCount: number } {
    const { ids } = this.#flight;
    let usedCount = 0;
    for (let record = 0; record < this.#recordCount; record++) {
      usedCount += this.#early[ids[record]!] === 2 ? 1 : 0;
      this.#early[ids[record]!] = 0;
    }
    this.#lease!.release(this.#outcome.cancelledCount > 0 ? { unfilled: this.#unfilled } : {});
    this.#lease = null;
    return { recordCount: this.#recordCount, usedCount };
  }

  /** Takes the records that were given up out of what is checked, and names them for the lease. */
  #dropLost(): void {
    const flight = this.#flight;
    this.#unfilled.fill(0, 0, this.#lease!.count);
    let keptCount = 0;
    for (let record = 0; record < flight.count; record++) {
      if (this.#isLost[record] === 1) this.#unfilled[this.#leasePosition[record]!] = 1;
      else flight.order[keptCount++] = record;
    }
    flight.count = keptCount;
    this.#parts.verifier.arrange(flight);
  }

  /** Lets the device go on with reads that waited for others to end, and puts what has landed into its slots. Never blocks. */
  pump(): void {
    this.#parts.reads.placeLanded(this.#flight);
  }

  /** Gives up what is under way, after an abort or an error. */
  reset(): void {
    if (this.#flight.pending) abandon(this.#flight.pending);
    this.#flight.pending = null;
    this.#lease?.release({ loaded: false });
    this.#lease = null;
    this.#early.fill(0);
  }
}

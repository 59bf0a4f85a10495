import {
  type BundleIndex,
  type MemoryHandle,
  type NeuronCache,
  type NeuronLease,
  NO_SLOT,
} from "@flashlm/contracts";
import { awaitWanted } from "./early-reads.js";
import type { Flight } from "./flight.js";
import type { FlightReads } from "./flight-reads.js";
import { abandon } from "./read-into.js";
import type { RecordVerifier } from "./record-verifier.js";

/** A layer's guesses stop when less than this share of the bytes read for them is used: then a busy device loses more time than waiting takes. */
const USED_SHARE_MIN = 0.5;
/** Share of the early records that are to be used: a layer's guesses are made surer until so many are, or as sure as the largest margin. */
const USED_SHARE_AIM = 0.9;
const MARGIN_MAX = 8;
/** Log odds by which a guess moves the margin of the next one, times how far its used share is from the aim. */
const MARGIN_STEP = 1;
/** How much one guess counts in a layer's used share. */
const SHARE_WEIGHT = 0.125;
/** Guesses of a layer before it is judged. */
const TRIAL_COUNT = 8;
/** Tokens that a layer goes without, the first time it is stopped and at most; doubled each time. */
const PAUSE_TOKENS_MIN = 16;
const PAUSE_TOKENS_MAX = 1024;

/** What early reads are made with. */
export interface LookAheadParts {
  readonly bundle: BundleIndex;
  readonly cache: NeuronCache;
  readonly reads: FlightReads;
  readonly verifier: RecordVerifier;
  /** For early reads alone. */
  readonly flight: Flight;
  /** Memory of slot 0 of each layer. */
  readonly slotBase: readonly MemoryHandle[];
}

/** What became of early reads over the whole run. */
export interface LookAheadStats {
  readonly recordCount: number;
  readonly usedCount: number;
  /** Records whose reads were given up before they began, because the layer did not want them. */
  readonly cancelledCount: number;
  /** Bytes of reads that ended in vain. */
  readonly wastedBytes: number;
  /** Times that a layer was stopped because too much was read in vain. */
  readonly stopCount: number;
}

interface LayerRecord {
  margin: number;
  usedShare: number;
  guessCount: number;
  pauseTokens: number;
  pausedUntil: number;
}

/**
 * Reads records of the next layer before its input is known (a guess that the look-ahead head makes), straight into slots that the
 * cache lends. A guess decides what is read early, never what is computed. One layer at a time.
 */
export class LookAhead {
  readonly #parts: LookAheadParts;
  readonly #layers: readonly LayerRecord[];
  /** By neuron of the layer under way: 1 where it is read early, 2 where it is wanted, too. */
  readonly #early: Uint8Array;
  /** By position in the flight: position in the lease, and 1 for a record that is not in its slot. */
  readonly #leasePosition: Uint32Array;
  readonly #isLost: Uint8Array;
  /** By position in the lease: 1 where a slot was not filled. */
  readonly #unfilled: Uint8Array;
  #lease: NeuronLease | null = null;
  #token = 0;
  #recordCount = 0;
  #usedCount = 0;
  #cancelledCount = 0;
  #wastedBytes = 0;
  #stopCount = 0;
  /** Milliseconds spent waiting for early reads, and on leases, plans and copies. */
  waitMs = 0;
  manageMs = 0;

  constructor(parts: LookAheadParts) {
    this.#parts = parts;
    const { manifest } = parts.bundle;
    const { neuronCount } = manifest.model.ffn;
    this.#early = new Uint8Array(neuronCount);
    this.#leasePosition = new Uint32Array(neuronCount);
    this.#isLost = new Uint8Array(neuronCount);
    this.#unfilled = new Uint8Array(neuronCount);
    this.#layers = manifest.layers.map(() => ({
      margin: 0,
      usedShare: 1,
      guessCount: 0,
      pauseTokens: PAUSE_TOKENS_MIN,
      pausedUntil: 0,
    }));
  }

  /** Whether guesses for a layer are welcome: it has slots, and its guesses have not been stopped. */
  wants(layerIndex: number): boolean {
    const layer = this.#layers[layerIndex];
    return (
      layer !== undefined &&
      this.#lease === null &&
      this.#parts.cache.slotCount(layerIndex) > 0 &&
      this.#token >= layer.pausedUntil
    );
  }

  /** How much surer than its threshold a guess for a layer must be, in log odds: the more, the more of what was read for it was in vain. */
  margin(layerIndex: number): number {
    return this.#layers[layerIndex]!.margin;
  }

  /** Starts reading the guessed neurons of a layer that have no slot yet. `ids` ascending, borrowed for the call. Never blocks. */
  guess(layerIndex: number, ids: Uint32Array, count: number): void {
    const start = performance.now();
    const { flight, reads } = this.#parts;
    flight.layerIndex = layerIndex;
    flight.hitCount = 0;
    // Reads that are not straight into slots need staging: as many of the first neurons as fit are read.
    for (let take = count; take > 0; ) {
      const lease = this.#lend(layerIndex, ids, take);
      const droppedCount = flight.count > 0 ? reads.plan(flight) : 0;
      if (flight.count > 0 && droppedCount === 0) {
        for (let record = 0; record < flight.count; record++) this.#early[flight.ids[record]!] = 1;
        this.#lease = lease;
        flight.pending = reads.submit(flight, "speculative");
        break;
      }
      const firstDropped = flight.ids[flight.count - droppedCount]!;
      lease.release({ loaded: false });
      if (droppedCount === 0) break;
      take = ids.subarray(0, take).indexOf(firstDropped);
    }
    this.manageMs += performance.now() - start;
  }

  /** Leases the guess, and lists the misses that got slots as wanted by the flight. */
  #lend(layerIndex: number, ids: Uint32Array, count: number): NeuronLease {
    const { bundle, cache, flight, reads, slotBase } = this.#parts;
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

  /**
   * Takes note of a layer's real neurons (`ids`, ascending, borrowed for the call), before they are asked for.
   *
   * @returns By neuron, not 0 where the record is being read early; borrowed until {@link land}. Null where none is.
   */
  expect(layerIndex: number, ids: Uint32Array, count: number): Uint8Array | null {
    const { flight } = this.#parts;
    if (!this.#lease || !flight.pending || flight.layerIndex !== layerIndex) return null;
    for (let position = 0; position < count; position++)
      if (this.#early[ids[position]!] === 1) this.#early[ids[position]!] = 2;
    return this.#early;
  }

  /**
   * Waits for early reads of a layer's expected neurons, gives up what has not begun of the others, and counts which were right.
   * @throws FLASH_*, BUNDLE_CHECKSUM.
   */
  async land(layerIndex: number): Promise<void> {
    const { flight, reads, verifier } = this.#parts;
    if (!this.#lease || !flight.pending || flight.layerIndex !== layerIndex) return;
    const start = performance.now();
    const isWanted = (record: number): boolean => this.#early[flight.ids[record]!] === 2;
    const { cancelledCount, wastedBytes } = awaitWanted(flight, isWanted, this.#isLost);
    this.#cancelledCount += cancelledCount;
    this.#wastedBytes += wastedBytes;
    flight.pending = null;
    const landed = performance.now();
    this.waitMs += landed - start;
    reads.place(flight);
    this.#judge(layerIndex);
    if (cancelledCount > 0) this.#dropLost();
    this.manageMs += performance.now() - landed;
    await verifier.check(flight);
    this.#lease.release(cancelledCount > 0 ? { unfilled: this.#unfilled } : {});
    this.#lease = null;
  }

  /** Lets the device go on with early reads that waited for others to end; to be called between computations. Never blocks. */
  pump(): void {
    const { pending } = this.#parts.flight;
    if (pending && pending.count > 0) pending.landed(pending.count - 1);
  }

  /** The next token begins. */
  advanceToken(): void {
    this.#token++;
  }

  /** Gives up what is under way, after an abort or an error. */
  reset(): void {
    const { flight } = this.#parts;
    if (flight.pending) abandon(flight.pending);
    flight.pending = null;
    this.#lease?.release({ loaded: false });
    this.#lease = null;
    this.#early.fill(0);
  }

  stats(): LookAheadStats {
    return {
      recordCount: this.#recordCount,
      usedCount: this.#usedCount,
      cancelledCount: this.#cancelledCount,
      wastedBytes: this.#wastedBytes,
      stopCount: this.#stopCount,
    };
  }

  /** Takes the records that were given up out of what is checked, and names them for the lease. */
  #dropLost(): void {
    const { flight } = this.#parts;
    this.#unfilled.fill(0, 0, this.#lease!.count);
    let keptCount = 0;
    for (let record = 0; record < flight.count; record++) {
      if (this.#isLost[record] === 1) this.#unfilled[this.#leasePosition[record]!] = 1;
      else flight.order[keptCount++] = record;
    }
    flight.count = keptCount;
  }

  /** Counts the early records that are used, and stops a layer whose guesses are mostly wrong. */
  #judge(layerIndex: number): void {
    const { flight } = this.#parts;
    let usedCount = 0;
    for (let record = 0; record < flight.count; record++) {
      const id = flight.ids[record]!;
      usedCount += this.#early[id] === 2 ? 1 : 0;
      this.#early[id] = 0;
    }
    this.#recordCount += flight.count;
    this.#usedCount += usedCount;
    const layer = this.#layers[layerIndex]!;
    layer.guessCount++;
    const usedShare = usedCount / flight.count;
    const wanted = layer.margin + MARGIN_STEP * (USED_SHARE_AIM - usedShare);
    layer.margin = Math.min(MARGIN_MAX, Math.max(0, wanted));
    layer.usedShare += SHARE_WEIGHT * (usedShare - layer.usedShare);
    if (layer.guessCount < TRIAL_COUNT || layer.usedShare >= USED_SHARE_MIN) return;
    this.#stopCount++;
    layer.pausedUntil = this.#token + layer.pauseTokens;
    layer.pauseTokens = Math.min(PAUSE_TOKENS_MAX, 2 * layer.pauseTokens);
    layer.guessCount = 0;
    layer.usedShare = 1;
  }
}

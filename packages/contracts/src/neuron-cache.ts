import type { LayerIndex } from "./units.js";

/** Slot value of a miss that got no slot: its record is read, used and dropped. */
export const NO_SLOT = 0xffffffff;

/**
 * Slots for the records of one `acquire`, pinned until `release`. Arrays are borrowed from the cache and
 * valid until then.
 */
export interface NeuronLease {
  readonly layerIndex: LayerIndex;
  readonly count: number;
  /** Slot of each position, or {@link NO_SLOT}. `[count]` */
  readonly slots: Uint32Array;
  /** Positions whose record must be read, ascending. `[missCount]` (misses with and without a slot) */
  readonly missPositions: Uint32Array;
  readonly missCount: number;
  /**
   * Ends the lease. Misses whose slot was not filled must be named: with `loaded: false` none of them stays, with `unfilled` those do not
   * whose position holds 1 (`[count]`, borrowed for the call). Compact caches may move records then. Idempotent.
   */
  release(options?: { readonly loaded?: boolean; readonly unfilled?: Uint8Array }): void;
}

/** Counters since creation. */
export interface CacheStats {
  readonly hitCount: number;
  readonly missCount: number;
  /** Misses that got no slot. */
  readonly overflowCount: number;
  readonly evictCount: number;
  /** Rows moved by the compact cache. */
  readonly moveCount: number;
}

/**
 * What an acquire means for the slots: "window", a token that is decoded: misses take slots. "none", a chunk of a prompt that would flush
 * the window: they take free slots only, as units of the token before. "guess", units that may be named soon: misses take slots, but as units that left
 * the window, hits stay as old as they were, and no counter moves; the acquire with "window" that follows says which of them were right.
 */
export type AdmitMode = "window" | "none" | "guess";

/** Step of a unit that is used but does not enter the window: a miss takes no slot, a hit does not grow younger. */
export const STEP_OUTSIDE = 255;

/**
 * Which units (neurons or experts) of each layer are in which slot. Knows indices only, never bytes: slot s of layer l
 * is where the runtime says. At most one open lease per layer, and beside it, where `guessesOverlap`, one older with admit "guess"; leased slots are
 * neither moved nor evicted.
 */
export interface NeuronCache {
  readonly contractVersion: 1;
  readonly unit: "neuron" | "expert";
  readonly name: string;
  /**
   * Whether a layer can be acquired while its lease with admit "guess" is open, so that reads of the guess may still be under way. What the
   * guess has taken counts as here, filled or not; its release takes out what was not filled at the latest when the other lease ends. What was acquired
   * may not name such units. Absent means no.
   */
  readonly guessesOverlap?: boolean;
  /** Slots of a layer. */
  slotCount(layerIndex: LayerIndex): number;
  /**
   * Splits ascending unique ids into hits and misses and leases their slots. Compact caches may move records (through the
   * `moveRecord` they were made with) before they return, never later.
   *
   * @param steps - `[count]`, borrowed; for several tokens at once with admit "window": which of them was the last to name the unit (0 is the
   * current token, 1 the one after it, ...) or {@link STEP_OUTSIDE}. Absent: all belong to the current token. The window then moves on by
   * as many tokens as it took in.
   * @throws CACHE_DUPLICATE_ID (not strictly ascending), CACHE_RANGE, CACHE_LEASED (the layer has an open lease, other than a guess that may overlap), CACHE_CLOSED.
   */
  acquire(
    layerIndex: LayerIndex,
    ids: Uint32Array,
    count: number,
    admit: AdmitMode,
    steps?: Uint8Array,
  ): NeuronLease;
  /**
   * Tells a layer's scores of the token that is decoded, before its acquire with "window", and where they are guessed a layer early also before that with "guess": the higher, the likelier the unit is named, now and
   * soon. A hint that decides at most which units stay. `[unitCount of the layer]`, borrowed for the call. Absent in caches that make no use of it.
   * @throws CACHE_RANGE.
   */
  foresee?(layerIndex: LayerIndex, scores: Float32Array): void;
  /** The window moves on by one token. Called once per decoded token, with no lease open. */
  advanceToken(): void;
  /** Counters since the cache was made. */
  stats(): CacheStats;
  /** Ids now in slots of a layer, ascending (for tests and reports; allocates). */
  residentIds(layerIndex: LayerIndex): Uint32Array;
}

/** How a cache is made. */
export interface CacheOptions {
  readonly unit: "neuron" | "expert";
  /** Per layer: how many units exist, how many have a slot, and how many of the first (hottest) ids are pinned once loaded (at most slotCount). */
  readonly layers: readonly {
    readonly unitCount: number;
    readonly slotCount: number;
    readonly pinnedCount: number;
  }[];
  /** Tokens, the current one included, whose units are kept (paper section 3.1: the sliding window). */
  readonly windowTokens: number;
  /** Copies a record between slots of a layer; needed by caches that move rows. */
  readonly moveRecord: (layerIndex: LayerIndex, fromSlot: number, toSlot: number) => void;
}

/** A cache as something that can be chosen. */
export interface CachePart {
  readonly name: string;
  /** Makes an empty cache. @throws CACHE_RANGE for slot or pin counts that do not fit each other. */
  create(options: CacheOptions): NeuronCache;
}

/** What a policy may look at: typed arrays of one layer, indexed by slot unless they say otherwise. Borrowed for the call. */
export interface PolicyView {
  readonly layerIndex: LayerIndex;
  readonly slotCount: number;
  /** Slot of each unit, or NO_SLOT. `[unitCount]` */
  readonly slotByUnit: Uint32Array;
  /** Unit in each slot, or NO_SLOT. */
  readonly unitBySlot: Uint32Array;
  /** Token number of the last acquire that named the unit in the slot. */
  readonly lastUsedToken: Float64Array;
  readonly pinned: Uint8Array;
  /** Not 0 where an open lease holds the slot. */
  readonly leased: Uint8Array;
}

/** Picks slots to give up. Never a pinned or leased one. */
export interface ResidencyPolicy {
  readonly name: string;
  /** Told of every acquire with admit "window", before room is made; `ids` ascending, borrowed. For policies that count uses. */
  observe?(view: PolicyView, token: number, ids: Uint32Array, count: number): void;
  /** Told of a layer's scores as {@link NeuronCache.foresee} is; for policies that look ahead. */
  foresee?(view: PolicyView, token: number, scores: Float32Array): void;
  /** Writes up to `neededCount` victims into `target` and returns how many; fewer means that the rest overflow. */
  chooseVictims(view: PolicyView, token: number, neededCount: number, target: Uint32Array): number;
}

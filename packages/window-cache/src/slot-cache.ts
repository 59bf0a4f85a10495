import type { AdmitMode, CacheOptions, CacheStats, NeuronCache, NeuronLease } from "@flashlm/contracts";
import { FlashlmError, NO_SLOT, STEP_OUTSIDE } from "@flashlm/contracts";
import { checkIds, checkOptions } from "./checks.js";
import { LayerState } from "./layer-state.js";
import { ACQUIRED, GUESSED, Lease, type OnRelease } from "./lease.js";

/** What both caches share: leases, hits and misses, pinning, counters. How room is made is left to each. */
export abstract class SlotCache implements NeuronCache {
  readonly contractVersion = 1 as const;
  readonly unit: "neuron" | "expert";
  abstract readonly name: string;
  readonly guessesOverlap: boolean = false;
  protected readonly layers: readonly LayerState[];
  protected readonly windowTokens: number;
  protected token = 0;
  protected evictCount = 0;
  protected moveCount = 0;
  readonly #leases: readonly Lease[];
  readonly #guesses: readonly Lease[];
  #openCount = 0;
  #hitCount = 0;
  #missCount = 0;
  #overflowCount = 0;
  /** Ids of an acquire with steps that enter the window. */
  readonly #entering: Uint32Array;

  constructor(options: CacheOptions) {
    checkOptions(options);
    this.unit = options.unit;
    this.windowTokens = options.windowTokens;
    this.layers = options.layers.map((sizes, layerIndex) => new LayerState(layerIndex, sizes));
    this.#entering = new Uint32Array(Math.max(0, ...this.layers.map(({ unitCount }) => unitCount)));
    const onRelease: OnRelease = (lease, loaded, unfilled) => this.#released(lease, loaded, unfilled);
    this.#leases = this.layers.map((layer) => new Lease(layer, ACQUIRED, onRelease));
    this.#guesses = this.layers.map((layer) => new Lease(layer, GUESSED, onRelease));
  }

  /** Frees slots until `neededCount` units that are not pinned fit, as far as that is possible. */
  protected abstract makeRoom(layer: LayerState, neededCount: number): void;
  /** Sees the units that a token names, before room is made for them. */
  protected observe(_layer: LayerState, _ids: Uint32Array, _count: number): void {}
  /** Sees the scores of the token that is decoded. */
  protected attendScores?(layer: LayerState, scores: Float32Array): void;
  /** A free slot; called only while there is one. */
  protected abstract takeSlot(layer: LayerState): number;
  /** Empties a slot whose record was never read; called in descending order of their taking. */
  protected abstract giveBack(layer: LayerState, slot: number): void;
  /** Empties a slot whose record was never read, while others that were taken after it stay. */
  protected takeOut(layer: LayerState, slot: number): void {
    this.giveBack(layer, slot);
  }

  slotCount(layerIndex: number): number {
    return this.#layer(layerIndex).slotCount;
  }

  acquire(
    layerIndex: number,
    ids: Uint32Array,
    count: number,
    admit: AdmitMode,
    steps?: Uint8Array,
  ): NeuronLease {
    const layer = this.#layer(layerIndex);
    this.#checkFree(layerIndex, admit);
    const lease = (admit === "guess" ? this.#guesses : this.#leases)[layerIndex]!;
    checkIds(layer, ids, count);
    lease.count = count;
    lease.marksSlots = !layer.isWhole;
    if (layer.isWhole) this.#placeHits(layer, lease, ids, admit);
    else {
      if (admit !== "none") this.#admit(layer, lease, ids, admit, steps);
      this.#place(layer, lease, ids, admit, steps);
    }
    lease.open = true;
    this.#openCount++;
    return lease;
  }

  foresee(layerIndex: number, scores: Float32Array): void {
    const layer = this.#layer(layerIndex);
    if (scores.length !== layer.unitCount) {
      throw new FlashlmError(
        "CACHE_RANGE",
        `layer ${layerIndex} has ${layer.unitCount} units, got ${scores.length} scores`,
        { layerIndex, unitCount: layer.unitCount, scoreCount: scores.length },
      );
    }
    if (layer.slotCount < layer.unitCount) this.attendScores?.(layer, scores);
  }

  advanceToken(): void {
    if (this.#openCount > 0) {
      throw new FlashlmError(
        "CACHE_LEASED",
        `the window cannot move on while ${this.#openCount} leases are open; release them first`,
        { leaseCount: this.#openCount },
      );
    }
    this.token++;
  }

  stats(): CacheStats {
    return {
      hitCount: this.#hitCount,
      missCount: this.#missCount,
      overflowCount: this.#overflowCount,
      evictCount: this.evictCount,
      moveCount: this.moveCount,
    };
  }

  residentIds(layerIndex: number): Uint32Array {
    const layer = this.#layer(layerIndex);
    return layer.unitBySlot.filter((unit) => unit !== NO_SLOT).sort();
  }

  #layer(layerIndex: number): LayerState {
    const layer = this.layers[layerIndex];
    if (layer !== undefined) return layer;
    throw new FlashlmError(
      "CACHE_RANGE",
      `the cache has layers 0 to ${this.layers.length - 1}, got layer ${layerIndex}`,
      { layerIndex, layerCount: this.layers.length },
    );
  }

  #checkFree(layerIndex: number, admit: AdmitMode): void {
    const guess = this.#guesses[layerIndex]!;
    const blocking =
      guess.open && (admit === "guess" || !this.guessesOverlap) ? guess : this.#leases[layerIndex]!;
    if (!blocking.open) return;
    throw new FlashlmError(
      "CACHE_LEASED",
      `layer ${layerIndex} has an open lease of ${blocking.count} units; release it before the next acquire`,
      { layerIndex, leasedCount: blocking.count },
    );
  }

  /** Leases hits, so that none of them is given up, marks named ones as used now, and makes room for the misses. */
  #admit(
    layer: LayerState,
    lease: Lease,
    ids: Uint32Array,
    admit: AdmitMode,
    steps: Uint8Array | undefined,
  ): void {
    const { slotByUnit, lastUsedToken, leased, pinnedCount } = layer;
    let neededCount = 0;
    let enteringCount = 0;
    for (let position = 0; position < lease.count; position++) {
      const id = ids[position]!;
      const slot = slotByUnit[id]!;
      const step = steps === undefined ? 0 : steps[position]!;
      if (slot !== NO_SLOT) leased[slot]! |= lease.mark;
      if (step === STEP_OUTSIDE) continue;
      if (steps !== undefined) this.#entering[enteringCount++] = id;
      if (slot === NO_SLOT) neededCount += id >= pinnedCount ? 1 : 0;
      else if (admit === "window") lastUsedToken[slot] = this.token + step;
    }
    try {
      if (admit === "window") {
        if (steps === undefined) this.observe(layer, ids, lease.count);
        else this.observe(layer, this.#entering, enteringCount);
      }
      this.makeRoom(layer, neededCount);
    } catch (error) {
      for (let slot = 0; slot < leased.length; slot++) leased[slot]! &= ~lease.mark; // the lease never came to be
      throw error;
    }
  }

  /** Fills the lease of a layer whose units are all here for ever: nothing can be given up, so nothing needs to be marked. */
  #placeHits({ slotByUnit }: LayerState, lease: Lease, ids: Uint32Array, admit: AdmitMode): void {
    const { slots, count } = lease;
    for (let position = 0; position < count; position++) slots[position] = slotByUnit[ids[position]!]!;
    lease.missCount = 0;
    if (admit !== "guess") this.#hitCount += count;
  }

  /** Fills the lease. Misses take free slots in ascending order of id, hottest first. */
  #place(
    layer: LayerState,
    lease: Lease,
    ids: Uint32Array,
    admit: AdmitMode,
    steps: Uint8Array | undefined,
  ): void {
    const { slotByUnit, leased, pinnedCount } = layer;
    const { slots, missPositions, count } = lease;
    let missCount = 0;
    let overflowCount = 0;
    const usedToken = this.token - this.#ageOf(admit);
    for (let position = 0; position < count; position++) {
      const id = ids[position]!;
      let slot = slotByUnit[id]!;
      if (slot === NO_SLOT) {
        missPositions[missCount++] = position;
        const step = steps === undefined ? 0 : steps[position]!;
        if (step !== STEP_OUTSIDE && (id < pinnedCount || layer.freeForAnyCount > 0)) {
          slot = this.takeSlot(layer);
          layer.put(id, slot, usedToken + step);
        } else overflowCount++;
      }
      if (slot !== NO_SLOT) leased[slot]! |= lease.mark;
      slots[position] = slot;
    }
    lease.missCount = missCount;
    if (admit === "guess") return;
    this.#hitCount += count - missCount;
    this.#missCount += missCount;
    this.#overflowCount += overflowCount;
  }

  /** Tokens ago that a unit which takes a slot now counts as used: the current token gives way to nothing, a prompt's chunk and a guess do. */
  #ageOf(admit: AdmitMode): number {
    if (admit === "window") return 0;
    return admit === "none" ? 1 : this.windowTokens;
  }

  #released(lease: Lease, loaded: boolean, unfilled: Uint8Array | undefined): void {
    this.#openCount--;
    const layer = this.layers[lease.layerIndex]!;
    if (!loaded || unfilled !== undefined) {
      this.#keepUnfilled(lease, loaded ? unfilled : undefined);
      if (lease.mark === GUESSED && this.#leases[lease.layerIndex]!.open) lease.leavesUnfilled = true;
      else this.#empty(layer, lease, loaded);
    }
    const guess = this.#guesses[lease.layerIndex]!;
    if (lease === guess || !guess.leavesUnfilled) return;
    guess.leavesUnfilled = false;
    this.#empty(layer, guess, true);
  }

  /** Reduces a lease's misses to those with a slot that was not filled: all, or those that `unfilled` names. */
  #keepUnfilled(lease: Lease, unfilled: Uint8Array | undefined): void {
    const { missPositions, slots } = lease;
    let keptCount = 0;
    for (let miss = 0; miss < lease.missCount; miss++) {
      const position = missPositions[miss]!;
      if (slots[position] !== NO_SLOT && (unfilled === undefined || unfilled[position] === 1))
        missPositions[keptCount++] = position;
    }
    lease.missCount = keptCount;
  }

  /** Empties the slots of a lease's misses. @param amongOthers - whether slots that were taken later stay. */
  #empty(layer: LayerState, lease: Lease, amongOthers: boolean): void {
    for (let miss = lease.missCount - 1; miss >= 0; miss--) {
      const slot = lease.slots[lease.missPositions[miss]!]!;
      if (amongOthers) this.takeOut(layer, slot);
      else this.giveBack(layer, slot);
    }
  }
}

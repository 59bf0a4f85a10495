import type { PolicyView } from "@flashlm/contracts";
import { assert, NO_SLOT } from "@flashlm/contracts";

/** Slots that may be given up, each with a key; finds those with the smallest keys without sorting all of them. */
export class VictimSelector {
  readonly #keys: Float64Array;
  readonly #units: Uint32Array;
  readonly #slots: Uint32Array;
  #count = 0;

  /** @param capacity - most candidates at once; everything is allocated here. */
  constructor(capacity: number) {
    this.#keys = new Float64Array(capacity);
    this.#units = new Uint32Array(capacity);
    this.#slots = new Uint32Array(capacity);
  }

  /** Candidates so far. */
  get count(): number {
    return this.#count;
  }

  /** Forgets every candidate. */
  clear(): void {
    this.#count = 0;
  }

  /** Offers, in place of what was there, every slot that may be given up at this token, by the key of its unit. */
  offer(view: PolicyView, token: number, keyByUnit: ArrayLike<number>): void {
    const { slotCount, unitBySlot, lastUsedToken, pinned, leased } = view;
    this.clear();
    for (let slot = 0; slot < slotCount; slot++) {
      const unit = unitBySlot[slot]!;
      const stays =
        unit === NO_SLOT || lastUsedToken[slot]! >= token || pinned[slot] === 1 || leased[slot] !== 0;
      if (!stays) this.push(keyByUnit[unit]!, unit, slot);
    }
  }

  /** Selects `count` victims and writes their slots into `target`. Returns `count`. */
  take(count: number, target: Uint32Array): number {
    this.select(count);
    for (let index = 0; index < count; index++) target[index] = this.slot(index);
    return count;
  }

  /** Offers a slot. Of equal keys the higher unit goes first: units are numbered hottest first. */
  push(key: number, unit: number, slot: number): void {
    assert(this.#count < this.#keys.length, "a layer has no more candidates than slots");
    this.#keys[this.#count] = key;
    this.#units[this.#count] = unit;
    this.#slots[this.#count] = slot;
    this.#count++;
  }

  /** Moves the `wantedCount` smallest candidates to the front, in no order. Quickselect: linear on average. */
  select(wantedCount: number): void {
    let first = 0;
    let last = this.#count - 1;
    while (first < last) {
      const middle = (first + last) >>> 1;
      const key = this.#keys[middle]!;
      const unit = this.#units[middle]!;
      let low = first;
      let high = last;
      while (low <= high) {
        while (this.#before(low, key, unit)) low++;
        while (this.#after(high, key, unit)) high--;
        if (low <= high) this.#swap(low++, high--);
      }
      if (wantedCount <= high + 1) last = high;
      else if (wantedCount > low) first = low;
      else return;
    }
  }

  /** Slot of a candidate; the first ones after {@link VictimSelector.select} are the victims. */
  slot(index: number): number {
    return this.#slots[index]!;
  }

  #before(index: number, key: number, unit: number): boolean {
    return this.#keys[index]! < key || (this.#keys[index] === key && this.#units[index]! > unit);
  }

  #after(index: number, key: number, unit: number): boolean {
    return this.#keys[index]! > key || (this.#keys[index] === key && this.#units[index]! < unit);
  }

  #swap(a: number, b: number): void {
    const key = this.#keys[a]!;
    const unit = this.#units[a]!;
    const slot = this.#slots[a]!;
    this.#keys[a] = this.#keys[b]!;
    this.#units[a] = this.#units[b]!;
    this.#slots[a] = this.#slots[b]!;
    this.#keys[b] = key;
    this.#units[b] = unit;
    this.#slots[b] = slot;
  }
}

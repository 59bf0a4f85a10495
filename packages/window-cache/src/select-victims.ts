import type { PolicyView } from "@flashlm/contracts";
import { assert, NO_SLOT } from "@flashlm/contracts";

/** From so many candidates on, a few of them tell where the border lies. */
const SAMPLED_FROM = 128;
const SAMPLE_COUNT = 31;
/** Places in the sample beyond the border's, so that the border is mostly below. */
const SAMPLE_MARGIN = 2;

/** Slots that may be given up, each with a key; finds those with the smallest keys without sorting all of them. */
export class VictimSelector {
  readonly #keys: Float64Array;
  readonly #slots: Uint32Array;
  readonly #sample: Uint32Array = new Uint32Array(SAMPLE_COUNT);
  #unitBySlot: ArrayLike<number> = [];
  #count = 0;

  /** @param capacity - most candidates at once; everything is allocated here. */
  constructor(capacity: number) {
    this.#keys = new Float64Array(capacity);
    this.#slots = new Uint32Array(capacity);
  }

  /** Candidates so far. */
  get count(): number {
    return this.#count;
  }

  /** Offers, in place of what was there, every slot that may be given up at this token, by the key of its unit. */
  offerByUnit(view: PolicyView, token: number, keyByUnit: ArrayLike<number>): void {
    this.#collect(view, token);
    for (let index = 0; index < this.#count; index++)
      this.#keys[index] = keyByUnit[view.unitBySlot[this.#slots[index]!]!]!;
  }

  /** The same by a key of the slot itself. */
  offerBySlot(view: PolicyView, token: number, keyBySlot: ArrayLike<number>): void {
    this.#collect(view, token);
    for (let index = 0; index < this.#count; index++) this.#keys[index] = keyBySlot[this.#slots[index]!]!;
  }

  /** Lists the slots that may be given up. Without branches: which ones may is past foretelling. */
  #collect({ slotCount, unitBySlot, lastUsedToken, pinned, leased }: PolicyView, token: number): void {
    assert(slotCount <= this.#slots.length, "a layer has no more candidates than slots");
    this.#unitBySlot = unitBySlot;
    this.#count = listCandidates(this.#slots, unitBySlot, lastUsedToken, pinned, leased, token);
  }

  /** Selects `count` victims and writes their slots into `target`. Returns `count`. */
  take(count: number, target: Uint32Array): number {
    this.select(count);
    for (let index = 0; index < count; index++) target[index] = this.slot(index);
    return count;
  }

  /** Moves the `wantedCount` smallest candidates to the front, in no order. Of equal keys the higher unit goes first: units are numbered hottest first. Quickselect: linear on average. */
  select(wantedCount: number): void {
    const [keys, slots] = [this.#keys, this.#slots];
    let first = 0;
    let last = this.#count - 1;
    while (first < last) {
      const pivot = this.#pivot(first, last, wantedCount);
      const key = keys[pivot]!;
      const unit = this.#unitBySlot[slots[pivot]!]!;
      let low = first;
      let high = last;
      while (low <= high) {
        while (keys[low]! < key || (keys[low] === key && this.#unitBySlot[slots[low]!]! > unit)) low++;
        while (keys[high]! > key || (keys[high] === key && this.#unitBySlot[slots[high]!]! < unit)) high--;
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

  /** A candidate a little beyond the border, as far as a sample can tell: what lies behind it then needs no second look. */
  #pivot(first: number, last: number, wantedCount: number): number {
    const count = last - first + 1;
    if (count < SAMPLED_FROM) return (first + last) >>> 1;
    const step = Math.floor(count / SAMPLE_COUNT);
    const place = Math.floor((SAMPLE_COUNT * (wantedCount - first)) / count) + SAMPLE_MARGIN;
    const [keys, sample] = [this.#keys, this.#sample];
    for (let taken = 0; taken < SAMPLE_COUNT; taken++) {
      const index = first + taken * step;
      let at = taken;
      for (; at > 0 && keys[sample[at - 1]!]! > keys[index]!; at--) sample[at] = sample[at - 1]!;
      sample[at] = index;
    }
    return sample[Math.min(place, SAMPLE_COUNT - 1)]!;
  }

  #swap(a: number, b: number): void {
    const key = this.#keys[a]!;
    const slot = this.#slots[a]!;
    this.#keys[a] = this.#keys[b]!;
    this.#slots[a] = this.#slots[b]!;
    this.#keys[b] = key;
    this.#slots[b] = slot;
  }
}

function listCandidates(
  slots: Uint32Array,
  unitBySlot: ArrayLike<number>,
  lastUsedToken: ArrayLike<number>,
  pinned: ArrayLike<number>,
  leased: ArrayLike<number>,
  token: number,
): number {
  let count = 0;
  for (let slot = 0; slot < unitBySlot.length; slot++) {
    slots[count] = slot;
    const isFree = (pinned[slot]! | leased[slot]!) === 0 ? 1 : 0;
    const isOld = lastUsedToken[slot]! < token ? 1 : 0;
    count += isFree & isOld & (unitBySlot[slot] === NO_SLOT ? 0 : 1);
  }
  return count;
}

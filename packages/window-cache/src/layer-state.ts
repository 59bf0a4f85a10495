import type { PolicyView } from "@flashlm/contracts";
import { NO_SLOT } from "@flashlm/contracts";

/** Sizes of one layer, as a cache is given them. */
export interface LayerSizes {
  readonly unitCount: number;
  readonly slotCount: number;
  readonly pinnedCount: number;
}

/**
 * Which unit of one layer is in which slot, in both directions. Everything is allocated here, once.
 * Invariant: `freeCount >= pinnedMissing`, so a pinned unit always finds a slot.
 */
export class LayerState implements PolicyView {
  readonly layerIndex: number;
  readonly unitCount: number;
  readonly slotCount: number;
  readonly pinnedCount: number;
  readonly slotByUnit: Uint32Array;
  readonly unitBySlot: Uint32Array;
  readonly lastUsedToken: Float64Array;
  readonly pinned: Uint8Array;
  readonly leased: Uint8Array;
  /** Slots in use. */
  usedCount = 0;
  /** Pinned units that have no slot yet; as many free slots are kept for them. */
  pinnedMissing: number;

  constructor(layerIndex: number, sizes: LayerSizes) {
    this.layerIndex = layerIndex;
    this.unitCount = sizes.unitCount;
    this.slotCount = sizes.slotCount;
    this.pinnedCount = sizes.pinnedCount;
    this.pinnedMissing = sizes.pinnedCount;
    this.slotByUnit = new Uint32Array(sizes.unitCount).fill(NO_SLOT);
    this.unitBySlot = new Uint32Array(sizes.slotCount).fill(NO_SLOT);
    this.lastUsedToken = new Float64Array(sizes.slotCount);
    this.pinned = new Uint8Array(sizes.slotCount);
    this.leased = new Uint8Array(sizes.slotCount);
  }

  /** Slots a unit that is not pinned may still take. */
  get freeForAnyCount(): number {
    return this.slotCount - this.usedCount - this.pinnedMissing;
  }

  /** True while every unit is pinned and has its slot. */
  get isWhole(): boolean {
    return this.pinnedCount === this.unitCount && this.pinnedMissing === 0;
  }

  /** Puts a unit into a free slot. */
  put(unit: number, slot: number, token: number): void {
    const pinned = unit < this.pinnedCount;
    this.slotByUnit[unit] = slot;
    this.unitBySlot[slot] = unit;
    this.lastUsedToken[slot] = token;
    this.pinned[slot] = pinned ? 1 : 0;
    this.usedCount++;
    if (pinned) this.pinnedMissing--;
  }

  /** Empties a slot that holds a unit. */
  clear(slot: number): void {
    if (this.pinned[slot] === 1) this.pinnedMissing++;
    this.slotByUnit[this.unitBySlot[slot]!] = NO_SLOT;
    this.unitBySlot[slot] = NO_SLOT;
    this.pinned[slot] = 0;
    this.leased[slot] = 0;
    this.usedCount--;
  }

  /** Renames the slot of a unit; `toSlot` is empty. */
  move(fromSlot: number, toSlot: number): void {
    const unit = this.unitBySlot[fromSlot]!;
    this.slotByUnit[unit] = toSlot;
    this.unitBySlot[toSlot] = unit;
    this.lastUsedToken[toSlot] = this.lastUsedToken[fromSlot]!;
    this.pinned[toSlot] = this.pinned[fromSlot]!;
    this.leased[toSlot] = this.leased[fromSlot]!;
    this.unitBySlot[fromSlot] = NO_SLOT;
    this.pinned[fromSlot] = 0;
    this.leased[fromSlot] = 0;
  }
}

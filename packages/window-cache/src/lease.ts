import type { NeuronLease } from "@flashlm/contracts";
import { NO_SLOT } from "@flashlm/contracts";
import type { LayerState } from "./layer-state.js";

/** What a cache does when a lease ends: misses that were not `loaded`, or whose position in `unfilled` is 1, do not stay. */
export type OnRelease = (lease: Lease, loaded: boolean, unfilled: Uint8Array | undefined) => void;

/** Bits of `leased`, by the lease that holds a slot. */
export const ACQUIRED = 1;
export const GUESSED = 2;

/** A layer's lease, for guesses or for all else; made once and handed out again by each `acquire`. */
export class Lease implements NeuronLease {
  readonly layerIndex: number;
  /** {@link ACQUIRED} or {@link GUESSED}. */
  readonly mark: number;
  readonly slots: Uint32Array;
  readonly missPositions: Uint32Array;
  count = 0;
  missCount = 0;
  /** Whether its slots are marked as leased. */
  marksSlots = true;
  /** True from `acquire` to `release`. */
  open = false;
  /** For a guess that ended while the layer's other lease was open: its first `missCount` misses are still to be taken out. */
  leavesUnfilled = false;
  readonly #layer: LayerState;
  readonly #onRelease: OnRelease;

  constructor(layer: LayerState, mark: number, onRelease: OnRelease) {
    this.layerIndex = layer.layerIndex;
    this.mark = mark;
    this.#layer = layer;
    this.#onRelease = onRelease;
    this.slots = new Uint32Array(layer.unitCount);
    this.missPositions = new Uint32Array(layer.unitCount);
  }

  release(options?: { readonly loaded?: boolean; readonly unfilled?: Uint8Array }): void {
    if (!this.open) return;
    this.open = false;
    if (this.marksSlots) this.#unmark();
    this.#onRelease(this, options?.loaded !== false, options?.unfilled);
  }

  #unmark(): void {
    const { leased } = this.#layer;
    for (let position = 0; position < this.count; position++) {
      const slot = this.slots[position]!;
      if (slot !== NO_SLOT) leased[slot]! &= ~this.mark;
    }
  }
}

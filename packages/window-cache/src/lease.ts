import type { NeuronLease } from "@flashlm/contracts";
import { NO_SLOT } from "@flashlm/contracts";
import type { LayerState } from "./layer-state.js";

/** The one lease of a layer, made once and handed out again by each `acquire`. */
export class Lease implements NeuronLease {
  readonly layerIndex: number;
  readonly slots: Uint32Array;
  readonly missPositions: Uint32Array;
  count = 0;
  missCount = 0;
  /** Whether its slots are marked as leased. */
  marksSlots = true;
  /** True from `acquire` to `release`. */
  open = false;
  readonly #layer: LayerState;
  readonly #onRelease: (lease: Lease, loaded: boolean) => void;

  constructor(layer: LayerState, onRelease: (lease: Lease, loaded: boolean) => void) {
    this.layerIndex = layer.layerIndex;
    this.#layer = layer;
    this.#onRelease = onRelease;
    this.slots = new Uint32Array(layer.unitCount);
    this.missPositions = new Uint32Array(layer.unitCount);
  }

  release(options?: { readonly loaded?: boolean }): void {
    if (!this.open) return;
    this.open = false;
    if (this.marksSlots) this.#unmark();
    this.#onRelease(this, options?.loaded !== false);
  }

  #unmark(): void {
    const { leased } = this.#layer;
    for (let position = 0; position < this.count; position++) {
      const slot = this.slots[position]!;
      if (slot !== NO_SLOT) leased[slot] = 0;
    }
  }
}

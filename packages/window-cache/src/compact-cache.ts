import type { CacheOptions, CachePart, NeuronCache } from "@flashlm/contracts";
import type { LayerState } from "./layer-state.js";
import { SlotCache } from "./slot-cache.js";
import { windowPolicy } from "./window-policy.js";

class CompactCache extends SlotCache {
  readonly name = "compact";
  readonly #moveRecord: CacheOptions["moveRecord"];
  /** Slots to be given up; as long as the largest layer's slots. */
  readonly #victims: Uint32Array;

  constructor(options: CacheOptions) {
    super(options);
    this.#moveRecord = options.moveRecord;
    this.#victims = new Uint32Array(this.layers.reduce((most, layer) => Math.max(most, layer.slotCount), 0));
  }

  protected makeRoom(layer: LayerState, neededCount: number): void {
    this.#delete(layer, this.#outsideWindow(layer));
    const lackingCount = neededCount - layer.freeForAnyCount;
    if (lackingCount <= 0) return;
    this.#delete(layer, windowPolicy.chooseVictims(layer, this.token, lackingCount, this.#victims));
  }

  protected takeSlot(layer: LayerState): number {
    return layer.usedCount;
  }

  protected giveBack(layer: LayerState, slot: number): void {
    layer.clear(slot); // the last row: misses were appended, and nothing has moved since
  }

  protected override takeOut(layer: LayerState, slot: number): void {
    const lastSlot = layer.usedCount - 1;
    if (slot !== lastSlot) this.#moveRecord(layer.layerIndex, lastSlot, slot);
    layer.clear(slot);
    if (slot === lastSlot) return;
    layer.move(lastSlot, slot);
    this.moveCount++;
  }

  /** Writes the slots that left the window to `#victims`, ascending. */
  #outsideWindow(layer: LayerState): number {
    const { lastUsedToken, pinned, leased, usedCount } = layer;
    const oldestToken = this.token - this.windowTokens + 1;
    let victimCount = 0;
    for (let slot = 0; slot < usedCount; slot++) {
      if (lastUsedToken[slot]! < oldestToken && pinned[slot] === 0 && leased[slot] === 0) {
        this.#victims[victimCount++] = slot;
      }
    }
    return victimCount;
  }

  /** Overwrites the first `victimCount` of `#victims` (ascending slots) with the last rows and reduces the count. */
  #delete(layer: LayerState, victimCount: number): void {
    let first = 0;
    let end = victimCount;
    while (first < end) {
      const lastSlot = layer.usedCount - 1;
      if (this.#victims[end - 1] === lastSlot) {
        layer.clear(lastSlot);
        end--;
      } else {
        const slot = this.#victims[first++]!;
        // Bytes first: if the copy throws, the row at its old slot is still whole.
        this.#moveRecord(layer.layerIndex, lastSlot, slot);
        layer.clear(slot);
        layer.move(lastSlot, slot);
        this.moveCount++;
      }
      this.evictCount++;
    }
  }
}

/**
 * The cache of the paper (section 3.3): the rows in use are always the first ones. A deleted row is overwritten with the
 * last one through `moveRecord`, inside `acquire` or a `release` that names unfilled misses; new rows are appended. Units that left the window are
 * dropped by the next `acquire` of their layer with admit "window".
 * `create` throws CACHE_RANGE for sizes that make no sense.
 */
export const compactCache: CachePart = {
  name: "compact",
  create: (options: CacheOptions): NeuronCache => new CompactCache(options),
};

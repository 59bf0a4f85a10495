import type { CacheOptions, CachePart, NeuronCache, ResidencyPolicy } from "@flashlm/contracts";
import { assert, NO_SLOT } from "@flashlm/contracts";
import { checkOptions } from "./checks.js";
import type { LayerState } from "./layer-state.js";
import { SlotCache } from "./slot-cache.js";
import { windowPolicy } from "./window-policy.js";

class SlotMapCache extends SlotCache {
  readonly name: string;
  override readonly guessesOverlap = true;
  readonly #policy: ResidencyPolicy;
  /** Per layer a stack of free slots; its height is the layer's slotCount - usedCount. */
  readonly #freeSlots: readonly Uint32Array[];
  readonly #victims: Uint32Array;

  constructor(options: CacheOptions, policy: ResidencyPolicy, name: string) {
    super(options);
    this.name = name;
    this.#policy = policy;
    // Highest slot at the bottom, so that slots are first taken in ascending order.
    this.#freeSlots = this.layers.map(({ slotCount }) =>
      new Uint32Array(slotCount).map((_, index) => slotCount - 1 - index),
    );
    this.#victims = new Uint32Array(this.layers.reduce((most, layer) => Math.max(most, layer.slotCount), 0));
  }

  protected override observe(layer: LayerState, ids: Uint32Array, count: number): void {
    this.#policy.observe?.(layer, this.token, ids, count);
  }

  protected override attendScores(layer: LayerState, scores: Float32Array): void {
    this.#policy.foresee?.(layer, this.token, scores);
  }

  protected makeRoom(layer: LayerState, neededCount: number): void {
    const lackingCount = Math.min(neededCount - layer.freeForAnyCount, layer.usedCount);
    if (lackingCount <= 0) return;
    const victimCount = this.#policy.chooseVictims(layer, this.token, lackingCount, this.#victims);
    assert(victimCount <= lackingCount, `policy ${this.#policy.name} chose more victims than were needed`);
    for (let index = 0; index < victimCount; index++) {
      const slot = this.#victims[index]!;
      if (!isLegalVictim(layer, slot)) this.#refuse(slot);
      this.giveBack(layer, slot);
    }
    this.evictCount += victimCount;
  }

  /** Apart from the loop: a message for every slot would cost more than all else there. */
  #refuse(slot: number): never {
    assert(false, `policy ${this.#policy.name} chose slot ${slot}, which is empty, pinned or leased`);
  }

  protected takeSlot(layer: LayerState): number {
    return this.#freeSlots[layer.layerIndex]![layer.slotCount - layer.usedCount - 1]!;
  }

  protected giveBack(layer: LayerState, slot: number): void {
    this.#freeSlots[layer.layerIndex]![layer.slotCount - layer.usedCount] = slot;
    layer.clear(slot);
  }
}

function isLegalVictim({ leased, pinned, slotCount, unitBySlot }: LayerState, slot: number): boolean {
  return slot < slotCount && unitBySlot[slot] !== NO_SLOT && pinned[slot] === 0 && leased[slot] === 0;
}

/** Makes a policy for one cache; it may keep counts of its layers' units. */
export type PolicyFactory = (options: CacheOptions) => ResidencyPolicy;

/**
 * A slot map whose victims are chosen by `policy`; nothing ever moves. A policy that chooses an empty, pinned or leased slot is a
 * programmer's error and stops the acquire with an assertion.
 */
export function slotMapCacheWith(policy: ResidencyPolicy): CachePart;
/**
 * The same for a policy with a memory of its own, which every cache needs another one of.
 *
 * @param name - of the part; its policies do not exist yet.
 */
export function slotMapCacheWith(policy: PolicyFactory, name: string): CachePart;
export function slotMapCacheWith(policy: ResidencyPolicy | PolicyFactory, name = ""): CachePart {
  const partName = typeof policy === "function" ? name : nameWith(policy);
  return {
    name: partName,
    create(options: CacheOptions): NeuronCache {
      // Before a policy allocates by them.
      checkOptions(options);
      return new SlotMapCache(options, typeof policy === "function" ? policy(options) : policy, partName);
    },
  };
}

function nameWith(policy: ResidencyPolicy): string {
  return policy === windowPolicy ? "slot-map" : `slot-map:${policy.name}`;
}

/**
 * A slot map with {@link windowPolicy}: nothing ever moves (`moveRecord` is not called), and units that left the window stay
 * until their slot is needed. `create` throws CACHE_RANGE for sizes that make no sense.
 */
export const slotMapCache: CachePart = slotMapCacheWith(windowPolicy);

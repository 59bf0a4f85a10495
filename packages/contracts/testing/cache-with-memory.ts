import { expect } from "vitest";
import type { AdmitMode, CacheOptions, CachePart, NeuronCache, NeuronLease } from "../src/index.js";
import { FlashlmError, NO_SLOT } from "../src/index.js";

/** Sizes of a layer of a cache. */
export type LayerSizes = CacheOptions["layers"][number];

/** A cache with a memory of one number per slot: what a record's bytes would be. */
export class CacheWithMemory {
  readonly cache: NeuronCache;
  readonly memory: Float64Array[];
  moveCount = 0;
  mayMove = false;

  constructor(part: CachePart, layers: readonly LayerSizes[], windowTokens: number) {
    this.memory = layers.map(({ slotCount }) => new Float64Array(slotCount).fill(-1));
    const moveRecord: CacheOptions["moveRecord"] = (layerIndex, fromSlot, toSlot) => {
      const slots = this.memory[layerIndex]!;
      expect(this.mayMove, "records move inside acquire, or a release with unfilled misses").toBe(true);
      expect(Math.max(fromSlot, toSlot)).toBeLessThan(slots.length);
      slots[toSlot] = slots[fromSlot]!;
      slots[fromSlot] = -1;
      this.moveCount++;
    };
    this.cache = part.create({ unit: "neuron", layers, windowTokens, moveRecord });
  }

  /** Ends a lease whose misses at the positions of `lost` were not filled. */
  releaseUnfilled(lease: NeuronLease, lost: readonly number[]): void {
    const unfilled = new Uint8Array(lease.count);
    for (const position of lost) unfilled[position] = 1;
    this.mayMove = true;
    lease.release({ unfilled });
    this.mayMove = false;
  }

  /** Acquires and checks what must hold of every lease. */
  acquire(
    layerIndex: number,
    ids: readonly number[],
    admit: AdmitMode = "window",
    steps?: readonly number[],
  ): NeuronLease {
    const before = new Set(this.cache.residentIds(layerIndex));
    this.mayMove = true;
    const someSteps = steps ? [Uint8Array.from(steps)] : [];
    const lease = this.cache.acquire(layerIndex, Uint32Array.from(ids), ids.length, admit, ...someSteps);
    this.mayMove = false;
    expect([lease.layerIndex, lease.count]).toEqual([layerIndex, ids.length]);
    const missPositions = Array.from(lease.missPositions.subarray(0, lease.missCount));
    const expectedMisses = ids.flatMap((id, position) => (before.has(id) ? [] : [position]));
    expect(missPositions).toEqual(expectedMisses);
    const slots = Array.from(lease.slots.subarray(0, lease.count));
    const taken = slots.filter((slot) => slot !== NO_SLOT);
    expect(new Set(taken).size).toBe(taken.length);
    ids.forEach((id, position) => {
      if (!before.has(id)) return;
      expect(this.memory[layerIndex]![slots[position]!], `slot of hit ${id} holds its record`).toBe(id);
    });
    if (admit === "none") {
      const placed = missPositions.filter((position) => slots[position] !== NO_SLOT);
      const kept = new Set([...before, ...placed.map((position) => ids[position]!)]);
      expect(new Set(this.cache.residentIds(layerIndex))).toEqual(kept);
    }
    return lease;
  }

  /** Reads the misses into their slots. */
  fill(lease: NeuronLease, ids: readonly number[]): void {
    for (const position of lease.missPositions.subarray(0, lease.missCount)) {
      const slot = lease.slots[position]!;
      if (slot !== NO_SLOT) this.memory[lease.layerIndex]![slot] = ids[position]!;
    }
  }

  /** One token of one layer: acquire, read, release. Returns the number of misses. */
  use(
    layerIndex: number,
    ids: readonly number[],
    admit: AdmitMode = "window",
    steps?: readonly number[],
  ): number {
    const lease = this.acquire(layerIndex, ids, admit, steps);
    const missCount = lease.missCount;
    this.fill(lease, ids);
    lease.release();
    return missCount;
  }

  resident(layerIndex: number): number[] {
    return Array.from(this.cache.residentIds(layerIndex));
  }
}

/** Code of the error that an action throws, or "no error". */
export function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    return FlashlmError.isInstance(error) ? error.code : String(error);
  }
  return "no error";
}

/** A layer of so many units, slots and pinned units. */
export function plain(unitCount: number, slotCount: number, pinnedCount = 0): LayerSizes {
  return { unitCount, slotCount, pinnedCount };
}

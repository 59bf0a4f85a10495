import type { CacheOptions, CachePart, PolicyView } from "@flashlm/contracts";
import { NO_SLOT } from "@flashlm/contracts";
import { describe, expect, it, vi } from "vitest";
import { compactCache, slotMapCache, slotMapCacheWith, windowPolicy } from "../src/index.js";

function create(
  part: CachePart,
  slotCount: number,
  windowTokens: number,
  moveRecord: CacheOptions["moveRecord"],
) {
  return part.create({
    unit: "neuron",
    layers: [{ unitCount: 100, slotCount, pinnedCount: 0 }],
    windowTokens,
    moveRecord,
  });
}

function use(cache: ReturnType<CachePart["create"]>, ids: number[]): number[] {
  const lease = cache.acquire(0, Uint32Array.from(ids), ids.length, "window");
  const slots = Array.from(lease.slots.subarray(0, ids.length));
  lease.release();
  return slots;
}

describe("compact cache", () => {
  it("overwrites deleted rows with the last ones and appends, as in the paper", () => {
    const moves: number[][] = [];
    const cache = create(compactCache, 8, 1, (_layer, from, to) => moves.push([from, to]));
    expect(use(cache, [1, 2, 3, 4, 5])).toEqual([0, 1, 2, 3, 4]);
    cache.advanceToken();
    // Rows 0, 2 and 4 (units 1, 3, 5) go: the last one is simply cut off, unit 4 moves to row 0, row 2 is last again.
    expect(use(cache, [2, 4, 9])).toEqual([1, 0, 2]);
    expect(moves).toEqual([[3, 0]]);
    expect(cache.stats()).toMatchObject({ moveCount: 1, evictCount: 3 });
  });

  it("stays whole when a move fails", () => {
    let failing = true;
    const cache = create(compactCache, 4, 1, () => {
      if (failing) throw new Error("copy failed");
    });
    use(cache, [1, 2, 3, 4]);
    cache.advanceToken();
    expect(() => use(cache, [3, 4, 9])).toThrow("copy failed");
    failing = false;
    expect(use(cache, [3, 4, 9])).toEqual([1, 0, 2]);
    expect(Array.from(cache.residentIds(0))).toEqual([3, 4, 9]);
  });
});

describe("slot map", () => {
  it("moves nothing and keeps what left the window until its slot is needed", () => {
    const moveRecord = vi.fn();
    const cache = create(slotMapCache, 4, 1, moveRecord);
    use(cache, [1, 2]);
    for (let token = 0; token < 5; token++) cache.advanceToken();
    expect(use(cache, [3])).toEqual([2]);
    expect(Array.from(cache.residentIds(0))).toEqual([1, 2, 3]);
    expect(use(cache, [4, 5])).toEqual([0, 3]);
    expect(Array.from(cache.residentIds(0))).toEqual([2, 3, 4, 5]);
    expect(moveRecord).not.toHaveBeenCalled();
  });

  it("stops on a policy that gives up a leased slot, and goes on after it", () => {
    let victim = 0;
    const part = slotMapCacheWith({
      name: "bad",
      chooseVictims: (_view, _token, _neededCount, target) => {
        target[0] = victim;
        return 1;
      },
    });
    const cache = create(part, 2, 1, () => {});
    expect(part.name).toBe("slot-map:bad");
    use(cache, [1, 2]);
    cache.advanceToken();
    expect(() => use(cache, [1, 3])).toThrow("policy bad chose slot 0");
    victim = 1;
    expect(use(cache, [1, 3])).toEqual([0, 1]);
  });
});

describe("window policy", () => {
  const view = (lastUsedToken: number[], changes: Partial<PolicyView> = {}): PolicyView => ({
    layerIndex: 0,
    slotCount: lastUsedToken.length,
    slotByUnit: Uint32Array.from(lastUsedToken, (_, slot) => slot),
    unitBySlot: Uint32Array.from(lastUsedToken, (_, slot) => slot),
    lastUsedToken: Float64Array.from(lastUsedToken),
    pinned: new Uint8Array(lastUsedToken.length),
    leased: new Uint8Array(lastUsedToken.length),
    ...changes,
  });
  const choose = (subject: PolicyView, token: number, neededCount: number): number[] => {
    const target = new Uint32Array(subject.slotCount);
    return Array.from(target.subarray(0, windowPolicy.chooseVictims(subject, token, neededCount, target)));
  };

  it("takes the oldest first, ties by slot, never the current token's", () => {
    const subject = view([5, 3, 9, 3, 4, 3]);
    expect(choose(subject, 9, 2)).toEqual([1, 3]);
    expect(choose(subject, 9, 4)).toEqual([1, 3, 4, 5]);
    expect(choose(subject, 9, 100)).toEqual([0, 1, 3, 4, 5]);
    expect(choose(subject, 9, 0)).toEqual([]);
  });

  it("passes over empty, pinned and leased slots, and very old ones are equal", () => {
    const changes = { unitBySlot: Uint32Array.of(0, NO_SLOT, 2, 3, 4), pinned: Uint8Array.of(0, 0, 1, 0, 0) };
    const subject = view([5000, 0, 0, 0, 10], { ...changes, leased: Uint8Array.of(0, 0, 0, 1, 0) });
    expect(choose(subject, 9000, 5)).toEqual([0, 4]);
    expect(choose(subject, 9000, 1)).toEqual([0]);
  });
});

describe("sizes of a real model", () => {
  it.each([compactCache, slotMapCache])("$name: 32 layers of 16384 units, 1638 named per token", (part) => {
    const layers = Array.from({ length: 32 }, () => ({
      unitCount: 16_384,
      slotCount: 6000,
      pinnedCount: 500,
    }));
    const cache = part.create({ unit: "neuron", layers, windowTokens: 5, moveRecord: () => {} });
    for (let token = 0; token < 6; token++) {
      const ids = Uint32Array.from({ length: 1638 }, (_, position) => position * 10 + token);
      for (let layerIndex = 0; layerIndex < 32; layerIndex++) {
        cache.acquire(layerIndex, ids, ids.length, "window").release();
      }
      cache.advanceToken();
    }
    expect(cache.stats().hitCount + cache.stats().missCount).toBe(6 * 32 * 1638);
    expect(cache.residentIds(31).length).toBeLessThanOrEqual(6000);
  });
});

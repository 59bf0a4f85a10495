import { describe, expect, it } from "vitest";
import type { CachePart } from "../src/index.js";
import { STEP_OUTSIDE } from "../src/index.js";
import { CacheWithMemory, codeOf, type LayerSizes, plain } from "./cache-with-memory.js";
import { overlapTests } from "./neuron-cache-overlap.js";
import { createPrng } from "./prng.js";

/** What {@link neuronCacheConformance} tests. */
export interface NeuronCacheConformanceOptions {
  readonly name: string;
  readonly part: CachePart;
}

function leaseTests(part: CachePart): void {
  it("says what is a hit and what is a miss", () => {
    const subject = new CacheWithMemory(part, [plain(10, 6), plain(10, 6)], 2);
    expect(subject.use(0, [1, 3, 5])).toBe(3);
    expect(subject.use(0, [1, 4, 5])).toBe(1);
    expect(subject.use(1, [1, 4, 5])).toBe(3);
    expect(subject.resident(0)).toEqual([1, 3, 4, 5]);
    expect(subject.cache.slotCount(0)).toBe(6);
    expect(subject.use(0, [])).toBe(0);
  });

  it("refuses a second lease of a layer, and leases layers independently", () => {
    const subject = new CacheWithMemory(part, [plain(10, 6), plain(10, 6)], 2);
    const lease = subject.acquire(0, [1]);
    subject.fill(lease, [1]);
    expect(codeOf(() => subject.cache.acquire(0, Uint32Array.of(2), 1, "window"))).toBe("CACHE_LEASED");
    expect(codeOf(() => subject.cache.advanceToken())).toBe("CACHE_LEASED");
    const other = subject.acquire(1, [2]);
    lease.release();
    other.release();
    subject.cache.advanceToken();
    expect(subject.use(0, [1])).toBe(0);
  });

  it("releases once, however often it is called", () => {
    const subject = new CacheWithMemory(part, [plain(10, 6)], 2);
    const lease = subject.acquire(0, [1, 2]);
    subject.fill(lease, [1, 2]);
    lease.release();
    lease.release({ loaded: false });
    expect(subject.resident(0)).toEqual([1, 2]);
    subject.acquire(0, [1]).release();
  });

  it("forgets the misses of a lease whose reads failed, and only those", () => {
    const subject = new CacheWithMemory(part, [plain(10, 6, 2)], 2);
    subject.use(0, [1, 5]);
    subject.acquire(0, [0, 1, 4, 5, 6]).release({ loaded: false });
    expect(subject.resident(0)).toEqual([1, 5]);
    expect(subject.use(0, [0, 1, 4, 5, 6])).toBe(3);
    expect(subject.resident(0)).toEqual([0, 1, 4, 5, 6]);
  });

  it("forgets the misses that were not filled, and keeps the bytes of the others", () => {
    for (const lost of [[0], [2], [4], [0, 3], [2, 3, 4], [0, 2, 3, 4]]) {
      const subject = new CacheWithMemory(part, [plain(10, 6, 2)], 2);
      subject.use(0, [1, 5]);
      const ids = [0, 1, 4, 6, 7];
      const lease = subject.acquire(0, ids, "guess");
      const kept = ids.filter((_, position) => !lost.includes(position));
      subject.fill(lease, ids);
      subject.releaseUnfilled(lease, lost);
      expect(subject.resident(0)).toEqual([...kept, 5].sort((a, b) => a - b));
      // Acquiring checks that each hit's slot holds its record.
      const again = subject.acquire(0, ids);
      expect(again.missCount).toBe(lost.length);
      subject.fill(again, ids);
      again.release();
    }
  });

  it("refuses ids that are not strictly ascending, out of range, and unknown layers, and changes nothing", () => {
    const subject = new CacheWithMemory(part, [plain(10, 6)], 2);
    subject.use(0, [2]);
    const attempt = (layerIndex: number, ids: number[], count = ids.length): string =>
      codeOf(() => subject.cache.acquire(layerIndex, Uint32Array.from(ids), count, "window"));
    expect(attempt(0, [3, 3])).toBe("CACHE_DUPLICATE_ID");
    expect(attempt(0, [4, 3])).toBe("CACHE_DUPLICATE_ID");
    expect(attempt(0, [3, 10])).toBe("CACHE_RANGE");
    expect(attempt(0, [3], 2)).toBe("CACHE_RANGE");
    expect(attempt(1, [3])).toBe("CACHE_RANGE");
    expect(subject.resident(0)).toEqual([2]);
    expect(subject.cache.stats().missCount).toBe(1);
  });
}

function residencyTests(part: CachePart): void {
  it("keeps what the window named while there is room", () => {
    const subject = new CacheWithMemory(part, [plain(20, 12)], 3);
    const sets = [
      [0, 1, 2],
      [3, 4],
      [5, 6, 7],
    ];
    for (const ids of sets) {
      subject.use(0, ids);
      subject.cache.advanceToken();
    }
    subject.use(0, [8]);
    expect(subject.resident(0)).toEqual(expect.arrayContaining([3, 4, 5, 6, 7, 8]));
  });

  it("lets misses overflow rather than give up units of the current token", () => {
    const subject = new CacheWithMemory(part, [plain(20, 3)], 2);
    expect(subject.use(0, [1, 2, 3, 4, 5])).toBe(5);
    expect(subject.resident(0)).toEqual([1, 2, 3]);
    subject.cache.advanceToken();
    expect(subject.use(0, [1, 2, 3, 4, 5])).toBe(2);
    expect(subject.resident(0)).toEqual([1, 2, 3]);
    expect(subject.cache.stats().overflowCount).toBe(4);
  });

  it("gives up older units of the window for newer ones", () => {
    const subject = new CacheWithMemory(part, [plain(20, 3)], 5);
    subject.use(0, [1, 2, 3]);
    subject.cache.advanceToken();
    subject.use(0, [3, 7, 8]);
    expect(subject.resident(0)).toEqual([3, 7, 8]);
  });

  it("never gives up a pinned unit, and keeps slots for those not yet loaded", () => {
    const subject = new CacheWithMemory(part, [plain(20, 3, 2)], 1);
    subject.use(0, [0, 5, 6]);
    expect(subject.resident(0)).toEqual([0, 5]);
    subject.cache.advanceToken();
    subject.use(0, [7, 8]);
    expect(subject.resident(0)).toEqual([0, 7]);
    subject.cache.advanceToken();
    subject.use(0, [1, 9]);
    expect(subject.resident(0)).toEqual([0, 1, 9]);
    for (let token = 0; token < 5; token++) {
      subject.cache.advanceToken();
      subject.use(0, [10, 11, 12]);
    }
    expect(subject.resident(0)).toEqual(expect.arrayContaining([0, 1]));
  });

  it("fills free slots with admit none, gives nothing up for it, and serves hits", () => {
    const subject = new CacheWithMemory(part, [plain(20, 4)], 2);
    subject.use(0, [1, 2]);
    expect(subject.use(0, [1, 3, 4, 5], "none")).toBe(3);
    expect(subject.resident(0)).toEqual([1, 2, 3, 4]);
    expect(subject.cache.stats()).toMatchObject({
      hitCount: 1,
      missCount: 5,
      overflowCount: 1,
      evictCount: 0,
    });
  });

  it("gives up what a prompt left for what the current token names", () => {
    const subject = new CacheWithMemory(part, [plain(20, 4)], 2);
    subject.use(0, [1, 2, 3, 4], "none");
    expect(subject.use(0, [3, 11, 12, 13])).toBe(3);
    expect(subject.resident(0)).toEqual([3, 11, 12, 13]);
  });

  it("keeps nothing of a prompt's chunk that was not loaded", () => {
    const subject = new CacheWithMemory(part, [plain(20, 4)], 2);
    subject.acquire(0, [1, 2], "none").release({ loaded: false });
    expect(subject.resident(0)).toEqual([]);
  });

  it("admits guesses as units that left the window, and counts nothing", () => {
    const subject = new CacheWithMemory(part, [plain(20, 4)], 2);
    subject.use(0, [1, 2]);
    const before = subject.cache.stats();
    subject.cache.advanceToken();
    subject.use(0, [1, 3], "guess");
    expect(subject.resident(0)).toEqual([1, 2, 3]);
    expect(subject.cache.stats()).toEqual(before);
    // The guess of 3 was right, and is a hit; then the wrong guess of 4 goes before what the window holds.
    expect(subject.use(0, [1, 3])).toBe(0);
    subject.cache.advanceToken();
    subject.use(0, [4], "guess");
    expect(subject.use(0, [1, 5])).toBe(1);
    subject.cache.advanceToken();
    expect(subject.use(0, [1, 5, 6])).toBe(1);
    expect(subject.resident(0)).toEqual(expect.arrayContaining([1, 5, 6]));
    expect(subject.resident(0)).not.toContain(4);
  });

  it("gives a guess back whose records were not read", () => {
    const subject = new CacheWithMemory(part, [plain(20, 4)], 2);
    subject.use(0, [1]);
    subject.acquire(0, [1, 7], "guess").release({ loaded: false });
    expect(subject.resident(0)).toEqual([1]);
  });

  it("works without slots", () => {
    const subject = new CacheWithMemory(part, [plain(20, 0)], 1);
    expect(subject.use(0, [0, 19])).toBe(2);
    expect(subject.resident(0)).toEqual([]);
  });

  it("refuses sizes that make no sense", () => {
    const make = (layer: LayerSizes, windowTokens: number): string =>
      codeOf(() => part.create({ unit: "neuron", layers: [layer], windowTokens, moveRecord: () => {} }));
    expect(make(plain(4, 4), 0)).toBe("CACHE_RANGE");
    expect(make(plain(4, 2, 3), 1)).toBe("CACHE_RANGE");
    expect(make(plain(2, 4, 3), 1)).toBe("CACHE_RANGE");
    expect(make(plain(4, -1), 1)).toBe("CACHE_RANGE");
    expect(make(plain(4.5, 1), 1)).toBe("CACHE_RANGE");
  });
}

/** Scores are hints: whatever they are, they change neither what a lease means nor what is counted. */
function scoreTests(part: CachePart): void {
  it("takes any scores before an acquire, if it takes any at all, and refuses those of another layer", () => {
    const random = createPrng(9);
    const subject = new CacheWithMemory(part, [plain(30, 9, 2), plain(12, 12)], 3);
    const odd = [Number.NaN, Infinity, -Infinity, -0, 1e38, -1e38];
    for (let token = 0; token < 60; token++) {
      for (const [layerIndex, unitCount] of [30, 12].entries()) {
        const score = (): number =>
          random() < 0.2 ? odd[Math.floor(random() * odd.length)]! : random() - 0.5;
        subject.cache.foresee?.(layerIndex, Float32Array.from({ length: unitCount }, score));
        const ids = Array.from({ length: unitCount }, (_, id) => id).filter(() => random() < 0.25);
        const resident = subject.resident(layerIndex);
        const missCount = subject.use(layerIndex, ids);
        expect(missCount).toBe(ids.filter((id) => !resident.includes(id)).length);
        const slotCount = layerIndex === 0 ? 9 : 12;
        expect(subject.resident(layerIndex).length).toBeLessThanOrEqual(slotCount);
      }
      subject.cache.advanceToken();
    }
    if (!subject.cache.foresee) return;
    expect(codeOf(() => subject.cache.foresee?.(0, new Float32Array(29)))).toBe("CACHE_RANGE");
    expect(codeOf(() => subject.cache.foresee?.(2, new Float32Array(30)))).toBe("CACHE_RANGE");
  });
}

/** Several tokens at once, of which the last ones stay outside the window. */
function stepTests(part: CachePart): void {
  it("gives no slot to units that only tokens outside the window name", () => {
    const subject = new CacheWithMemory(part, [plain(20, 6)], 4);
    expect(subject.use(0, [1, 2, 3, 4], "window", [0, STEP_OUTSIDE, 1, STEP_OUTSIDE])).toBe(4);
    expect(subject.resident(0)).toEqual([1, 3]);
    expect(subject.use(0, [1, 2, 3])).toBe(1);
    expect(subject.cache.stats()).toMatchObject({ hitCount: 2, missCount: 5, overflowCount: 2 });
  });

  it("gives up units of earlier steps first, and serves those outside the window where they are", () => {
    const subject = new CacheWithMemory(part, [plain(20, 4)], 2);
    subject.use(0, [1, 2]);
    subject.cache.advanceToken();
    subject.use(0, [1, 3, 4], "window", [STEP_OUTSIDE, 1, 0]);
    expect(subject.resident(0)).toEqual(expect.arrayContaining([3, 4]));
    for (let token = 0; token < 2; token++) subject.cache.advanceToken();
    subject.use(0, [5, 6, 7]);
    expect(subject.resident(0)).toEqual([3, 5, 6, 7]);
  });
}

/** Many tokens with drifting sets; every hit's bytes are checked by {@link CacheWithMemory.acquire}. */
function randomTest(part: CachePart, slotCount: number, pinnedCount: number, windowTokens: number): void {
  const random = createPrng(slotCount * 100 + pinnedCount * 10 + windowTokens);
  const layers = [plain(40, slotCount, pinnedCount), plain(40, Math.max(slotCount, 20), pinnedCount)];
  const subject = new CacheWithMemory(part, layers, windowTokens);
  const totals = { namedCount: 0, missCount: 0 };
  for (let token = 0; token < 120; token++) {
    for (let layerIndex = 0; layerIndex < layers.length; layerIndex++) {
      const ids = Array.from({ length: 40 }, (_, id) => id).filter((id) => random() < 0.5 / (1 + id / 5));
      const steps =
        random() < 0.2 ? ids.map(() => [0, 1, 2, STEP_OUTSIDE][Math.floor(random() * 4)]!) : undefined;
      const lease = subject.acquire(layerIndex, ids, random() < 0.1 ? "none" : "window", steps);
      totals.namedCount += ids.length;
      totals.missCount += lease.missCount;
      const loaded = random() >= 0.1;
      if (loaded) subject.fill(lease, ids);
      lease.release({ loaded });
      expect(subject.resident(layerIndex).length).toBeLessThanOrEqual(layers[layerIndex]!.slotCount);
    }
    subject.cache.advanceToken();
  }
  const stats = subject.cache.stats();
  expect(stats.missCount).toBe(totals.missCount);
  expect(stats.hitCount).toBe(totals.namedCount - totals.missCount);
  expect(stats.overflowCount).toBeLessThanOrEqual(stats.missCount);
  expect(stats.moveCount).toBe(subject.moveCount);
}

/** Registers the tests that every {@link CachePart} must pass; records are simulated, so that a wrong move shows as wrong bytes. */
export function neuronCacheConformance({ name, part }: NeuronCacheConformanceOptions): void {
  describe(`neuron cache conformance: ${name}`, () => {
    leaseTests(part);
    overlapTests(part);
    residencyTests(part);
    scoreTests(part);
    stepTests(part);
    for (const [slotCount, pinnedCount] of [
      [0, 0],
      [1, 0],
      [1, 1],
      [4, 0],
      [4, 2],
      [12, 3],
      [40, 0],
    ] as const) {
      for (const windowTokens of [1, 3]) {
        it(`keeps every record with its unit: ${slotCount} slots, ${pinnedCount} pinned, window ${windowTokens}`, () => {
          randomTest(part, slotCount, pinnedCount, windowTokens);
        });
      }
    }
  });
}

import { FlashlmError, type NeuronCache, NO_SLOT, type PolicyView } from "@flashlm/contracts";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseCache } from "../src/index.js";
import { VictimSelector } from "../src/select-victims.js";

const UNIT_COUNT = 14;

const sets = fc.array(
  fc.uniqueArray(fc.nat(UNIT_COUNT - 1), { maxLength: 9 }).map((ids) => ids.sort((a, b) => a - b)),
  { maxLength: 40 },
);
const layers = fc
  .record({ slotCount: fc.constantFrom(1, 3, 6, 10), pinned: fc.nat(3) })
  .map(({ slotCount, pinned }) => ({
    unitCount: UNIT_COUNT,
    slotCount,
    pinnedCount: Math.min(pinned, slotCount),
  }));

function create(
  name: string,
  layer: { unitCount: number; slotCount: number; pinnedCount: number },
): NeuronCache {
  return parseCache(name).part.create({
    unit: "neuron",
    layers: [layer],
    windowTokens: 5,
    moveRecord: () => {},
  });
}

function use(cache: NeuronCache, ids: readonly number[]): void {
  cache.acquire(0, Uint32Array.from(ids), ids.length, "window").release();
  cache.advanceToken();
}

/** The rules written as sorting: who stays, given a rank of every unit (the lowest goes first). */
class SortedModel {
  resident: number[] = [];
  readonly #uses = new Map<number, number[]>();

  constructor(
    readonly slotCount: number,
    readonly pinnedCount: number,
    readonly score: (uses: readonly number[], token: number) => number,
    readonly admission: boolean,
  ) {}

  use(ids: readonly number[], token: number): void {
    for (const id of ids) this.#uses.set(id, [...(this.#uses.get(id) ?? []), token]);
    const misses = ids.filter((id) => !this.resident.includes(id));
    const others = misses.filter((id) => id >= this.pinnedCount);
    const rank = (id: number): number => this.score(this.#uses.get(id) ?? [], token);
    const candidates = this.resident
      .filter((id) => id >= this.pinnedCount && !ids.includes(id))
      .sort((a, b) => rank(a) - rank(b) || b - a);
    const best = others.map(rank).sort((a, b) => b - a);
    const lacking = Math.max(0, others.length - this.#free());
    let count = Math.min(lacking, candidates.length);
    if (this.admission) {
      const worth = candidates.findIndex(
        (id, index) => !((best[index] ?? Number.NEGATIVE_INFINITY) > rank(id)),
      );
      count = Math.min(count, worth < 0 ? candidates.length : worth);
    }
    const gone = new Set(candidates.slice(0, count));
    this.resident = this.resident.filter((id) => !gone.has(id));
    for (const id of misses) if (id < this.pinnedCount || this.#free() > 0) this.resident.push(id);
  }

  #free(): number {
    const pinned = this.resident.filter((id) => id < this.pinnedCount).length;
    return this.slotCount - this.resident.length - (this.pinnedCount - pinned);
  }
}

describe.each([
  { name: "lru", score: (uses: readonly number[]) => uses.at(-1) ?? -1, admission: false },
  {
    name: "lfu:4",
    score: (uses: readonly number[], token: number) =>
      uses.reduce((total, used) => total + 0.5 ** ((token - used) / 4), 0),
    admission: true,
  },
])("$name against sorting", ({ name, score, admission }) => {
  it("keeps the same units after every token", () => {
    fc.assert(
      fc.property(layers, sets, (layer, steps) => {
        const cache = create(name, layer);
        const model = new SortedModel(layer.slotCount, layer.pinnedCount, score, admission);
        for (const [token, ids] of steps.entries()) {
          use(cache, ids);
          model.use(ids, token);
          expect(Array.from(cache.residentIds(0))).toEqual([...model.resident].sort((a, b) => a - b));
        }
      }),
      { numRuns: 600, seed: 11 },
    );
  });
});

describe("frequency policy", () => {
  it("has hits where one token needs more than all slots and recency has none left over", () => {
    // Units 0 to 3 are named by every token; the others take turns. Four slots are less than a token's eight units.
    const cache = create("lfu:64", { unitCount: 200, slotCount: 4, pinnedCount: 0 });
    for (let token = 0; token < 40; token++) {
      const start = 4 + ((token * 4) % 196);
      use(cache, [0, 1, 2, 3, start, start + 1, start + 2, start + 3]);
    }
    expect(Array.from(cache.residentIds(0))).toEqual([0, 1, 2, 3]);
    expect(cache.stats().hitCount).toBe(39 * 4);
  });

  it("keeps its scores finite over very many tokens", () => {
    const cache = create("lfu:1", { unitCount: 20, slotCount: 4, pinnedCount: 0 });
    for (let token = 0; token < 2000; token++) use(cache, [token % 3, 10 + (token % 10)]);
    for (let token = 0; token < 3; token++) use(cache, [5, 6, 7]);
    expect(Array.from(cache.residentIds(0))).toEqual(expect.arrayContaining([5, 6, 7]));
  });

  it("refuses a half-life that is none", () => {
    for (const text of [
      "lfu:0",
      "lfu:-1",
      "lfu:x",
      "lfu:",
      "hybrid:2",
      "hybrid:",
      "window:3",
      "foresight:0",
      "foresight:1.5",
      "foresight:",
      "foresight:x",
      "lru:1",
      "best",
      "lfu:1:2",
    ])
      expect(() => parseCache(text), text).toThrow(
        expect.toSatisfy((error) => FlashlmError.isInstance(error)),
      );
  });
});

describe("foresight policy", () => {
  const layer = { unitCount: 6, slotCount: 3, pinnedCount: 0 };
  const foresee = (cache: NeuronCache, scores: readonly number[]): void =>
    cache.foresee?.(0, Float32Array.from(scores));

  it("gives up what scored least, however lately it was used", () => {
    const cache = create("foresight:1", layer);
    use(cache, [0]);
    use(cache, [1]);
    use(cache, [2]);
    foresee(cache, [-1, -2, -3, 1, -9, -9]);
    use(cache, [3]);
    expect(Array.from(cache.residentIds(0))).toEqual([0, 1, 3]);
  });

  it("remembers earlier scores, each token's less than the next one's", () => {
    const cache = create("foresight:0.5", layer);
    use(cache, [0, 1, 2]);
    foresee(cache, [8, 0, 1, -9, -9, -9]);
    use(cache, [0]);
    // Means are now 4, 4.5 and 5.
    foresee(cache, [0, 9, 9, 1, -9, -9]);
    use(cache, [3]);
    expect(Array.from(cache.residentIds(0))).toEqual([1, 2, 3]);
  });

  it("goes by the window where scores are old, and by them alone after the gap", () => {
    const cache = create("foresight:0.5", layer);
    foresee(cache, [-9, 9, 9, 0, 0, 0]);
    use(cache, [0, 1, 2]);
    use(cache, [0, 1]);
    use(cache, [0]);
    // Of unit 2 nothing was heard for three tokens; its score of then says nothing.
    use(cache, [3]);
    expect(Array.from(cache.residentIds(0))).toEqual([0, 1, 3]);
    foresee(cache, [1, -1, 0, 2, 3, 0]);
    use(cache, [4]);
    expect(Array.from(cache.residentIds(0))).toEqual([0, 3, 4]);
  });

  it("keeps longest what came after the last scores", () => {
    const cache = create("foresight:0.5", layer);
    use(cache, [0, 1, 2]);
    foresee(cache, [9, 8, 7, -9, -9, -9]);
    use(cache, [3]);
    // Unit 3 scored least, but not while it had a slot.
    use(cache, [4]);
    expect(Array.from(cache.residentIds(0))).toEqual([0, 3, 4]);
    foresee(cache, [9, 9, 9, 3, 4, 9]);
    use(cache, [5]);
    expect(Array.from(cache.residentIds(0))).toEqual([0, 4, 5]);
  });

  it("makes room for guesses by the scores of the token before", () => {
    const cache = create("foresight:1", layer);
    use(cache, [0, 1, 2]);
    foresee(cache, [3, 1, 2, -9, -9, -9]);
    use(cache, [0]);
    cache.acquire(0, Uint32Array.of(4), 1, "guess").release();
    expect(Array.from(cache.residentIds(0))).toEqual([0, 2, 4]);
  });
});

describe("cache option", () => {
  it("names a part and what is pinned", () => {
    const read = (text: string): unknown[] => [parseCache(text).part.name, parseCache(text).pinnedShare];
    expect(read("auto")).toEqual(["slot-map:foresight", null]);
    expect(read("foresight")).toEqual(["slot-map:foresight", 0]);
    for (const [text, pinnedShare] of [
      ["auto", null],
      ["foresight:0.5", 0],
    ] as const)
      expect(parseCache(text, { hasScores: false })).toMatchObject({
        part: { name: "slot-map" },
        pinnedShare,
      });
    expect(parseCache("lru", { hasScores: false }).part.name).toBe("slot-map:lru");
    expect(read("foresight:0.5")).toEqual(["slot-map:foresight:0.5", 0]);
    expect(read("window")).toEqual(["slot-map", 0]);
    expect(read("compact")).toEqual(["compact", 0]);
    expect(read("lru")).toEqual(["slot-map:lru", 0]);
    expect(read("lfu:8")).toEqual(["slot-map:lfu:8", 0]);
    expect(read("pinned")).toEqual(["slot-map", 1]);
    expect(read("hybrid")).toEqual(["slot-map", 0.5]);
    expect(read("hybrid:0.25")).toEqual(["slot-map", 0.25]);
  });
});

describe("victim selector", () => {
  /** A layer whose slot n holds unit n; slots of `busy` may not be given up, for one reason or another. */
  const viewOf = (slotCount: number, busy: readonly number[]): PolicyView => {
    const units = Uint32Array.from({ length: slotCount }, (_, slot) => slot);
    const marked = (rest: number): Uint8Array =>
      Uint8Array.from(units, (slot) => (busy.includes(slot) && slot % 4 === rest ? 1 : 0));
    return {
      layerIndex: 0,
      slotCount,
      slotByUnit: units,
      unitBySlot: units.map((slot) => (busy.includes(slot) && slot % 4 === 0 ? NO_SLOT : slot)),
      lastUsedToken: Float64Array.from(marked(1), (mark) => (mark === 1 ? 7 : 6)),
      pinned: marked(2),
      leased: marked(3),
    };
  };

  it.each([60, 600])(
    "finds the smallest keys, of equal ones the highest units, as sorting does: %i slots",
    (most) => {
      const lists = fc.tuple(
        fc.array(fc.nat(most / 10), { maxLength: most }),
        fc.array(fc.nat(most)),
        fc.nat(most),
      );
      fc.assert(
        fc.property(lists, fc.boolean(), ([keys, busy, wanted], isBySlot) => {
          const selector = new VictimSelector(most);
          const view = viewOf(keys.length, busy);
          if (isBySlot) selector.offerBySlot(view, 7, keys);
          else selector.offerByUnit(view, 7, keys);
          const free = [...keys.keys()].filter((slot) => !busy.includes(slot));
          expect(selector.count).toBe(free.length);
          const count = Math.min(wanted, free.length);
          const target = new Uint32Array(most);
          expect(selector.take(count, target)).toBe(count);
          const sorted = free.sort((a, b) => keys[a]! - keys[b]! || b - a).slice(0, count);
          expect([...target.subarray(0, count)].sort((a, b) => a - b)).toEqual(sorted.sort((a, b) => a - b));
        }),
        { numRuns: 1000, seed: 3 },
      );
    },
  );
});

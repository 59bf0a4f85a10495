import { expect, it } from "vitest";
import type { AdmitMode, CachePart } from "../src/index.js";
import { NO_SLOT } from "../src/index.js";
import { CacheWithMemory, codeOf, plain } from "./cache-with-memory.js";
import { createPrng } from "./prng.js";

/** One layer's turn with a guess before it: what is filled late, and which lease ends first, is up to chance. */
function useGuessed(
  subject: CacheWithMemory,
  guessed: readonly number[],
  ids: readonly number[],
  random: () => number,
): void {
  const { cache, memory } = subject;
  subject.mayMove = true;
  const guess = cache.acquire(0, Uint32Array.from(guessed), guessed.length, "guess");
  // What is named must be filled before it is used; of the others some reads are given up.
  const lost = Array.from(guess.missPositions.subarray(0, guess.missCount)).filter(
    (position) => !ids.includes(guessed[position]!) && random() < 0.5,
  );
  const endGuess = (): void => {
    for (const position of guess.missPositions.subarray(0, guess.missCount)) {
      const slot = guess.slots[position]!;
      if (slot !== NO_SLOT && !lost.includes(position)) memory[0]![slot] = guessed[position]!;
    }
    subject.releaseUnfilled(guess, lost);
  };
  if (!cache.guessesOverlap) endGuess();
  subject.mayMove = true;
  const guessSlots = Array.from(guess.slots.subarray(0, guessed.length));
  const lease = cache.acquire(0, Uint32Array.from(ids), ids.length, "window");
  subject.mayMove = false;
  if (cache.guessesOverlap) {
    ids.forEach((id, position) => {
      const slot = lease.slots[position]!;
      if (slot === NO_SLOT) return;
      const holder = guessSlots.indexOf(slot);
      expect(holder < 0 || guessed[holder] === id, `slot ${slot} is held by a guess`).toBe(true);
    });
  }
  const endsFirst = cache.guessesOverlap && random() < 0.5;
  if (endsFirst) endGuess();
  subject.fill(lease, ids);
  ids.forEach((id, position) => {
    const slot = lease.slots[position]!;
    if (endsFirst && slot !== NO_SLOT) expect(memory[0]![slot]).toBe(id);
  });
  lease.release();
  if (cache.guessesOverlap && !endsFirst) endGuess();
}

/** Guesses whose reads are under way while the layer is acquired, where the cache allows it. */
export function overlapTests(part: CachePart): void {
  for (const [slotCount, pinnedCount] of [
    [3, 0],
    [9, 2],
    [20, 4],
    [30, 30],
  ] as const) {
    it(`keeps every record with its unit beside guesses: ${slotCount} slots, ${pinnedCount} pinned`, () => {
      const random = createPrng(slotCount);
      const subject = new CacheWithMemory(part, [plain(30, slotCount, pinnedCount)], 2);
      const some = (share: number): number[] =>
        Array.from({ length: 30 }, (_, id) => id).filter((id) => random() < share / (1 + id / 10));
      for (let token = 0; token < 200; token++) {
        useGuessed(subject, some(0.4), some(0.5), random);
        const resident = subject.resident(0);
        const held = [...subject.memory[0]!].filter((id) => resident.includes(id));
        expect(new Set(held).size, "each resident unit's record is in some slot").toBe(resident.length);
        subject.acquire(0, resident, "none").release();
        subject.cache.advanceToken();
      }
    });
  }

  it("takes one guess beside one lease, if any, and no guess beside a lease", () => {
    const subject = new CacheWithMemory(part, [plain(10, 6)], 2);
    const acquire = (id: number, admit: AdmitMode): string =>
      codeOf(() => subject.cache.acquire(0, Uint32Array.of(id), 1, admit));
    expect(acquire(1, "guess")).toBe("no error");
    expect(acquire(2, "guess")).toBe("CACHE_LEASED");
    expect(acquire(2, "window")).toBe(subject.cache.guessesOverlap ? "no error" : "CACHE_LEASED");
    expect(codeOf(() => subject.cache.advanceToken())).toBe("CACHE_LEASED");
    const other = new CacheWithMemory(part, [plain(10, 6)], 2);
    other.acquire(0, [1]);
    expect(codeOf(() => other.cache.acquire(0, Uint32Array.of(2), 1, "guess"))).toBe("CACHE_LEASED");
  });
}

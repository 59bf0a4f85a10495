import { expect, it } from "vitest";
import type { CacheDtype, KernelOp, KernelSet, MemoryHandle } from "../src/index.js";
import { rowBytes } from "../src/index.js";
import { KernelFixture } from "./kernel-fixture.js";

const TOKENS = 3;
const HEAD_COUNT = 2;
const HEAD_DIM = 32;
/** Tokens that are stored at once. */
const STORED = 16;

interface Ring {
  readonly start: number;
  readonly window: number;
  readonly capacityTokens: number;
  readonly cacheDtype: CacheDtype;
}

/** Stores positions 0 .. start + TOKENS - 1, the same for every capacity, and attends from the last of them. Returns what they see, as bytes. */
async function attendRing(set: KernelSet, ring: Ring): Promise<number[]> {
  const { start, window, capacityTokens, cacheDtype } = ring;
  const fixture = new KernelFixture(set, window);
  const query = fixture.vector(TOKENS * HEAD_COUNT * HEAD_DIM, 2);
  const count = start + TOKENS;
  const [keys, values] = [fixture.vector(count * HEAD_DIM), fixture.vector(count * HEAD_DIM)];
  const cacheBytes = capacityTokens * rowBytes(cacheDtype, HEAD_DIM);
  const cache = {
    cacheDtype,
    keyCache: fixture.memory(cacheBytes),
    valueCache: fixture.memory(cacheBytes),
    capacityTokens,
  };
  const targetBytes = TOKENS * HEAD_COUNT * HEAD_DIM * 4;
  const target = fixture.memory(targetBytes);
  const rowsFrom = ({ arenaId, offsetBytes }: MemoryHandle, position: number): MemoryHandle => ({
    arenaId,
    offsetBytes: offsetBytes + position * HEAD_DIM * 4,
  });
  const ops: KernelOp[] = [];
  for (let position = 0; position < count; position += STORED) {
    ops.push({
      op: "storeKeyValue",
      ...cache,
      tokenCount: fixture.word(Math.min(STORED, count - position)),
      position: fixture.word(position),
      keys: rowsFrom(keys.handle, position),
      values: rowsFrom(values.handle, position),
      keyValueDim: HEAD_DIM,
    });
  }
  ops.push({
    op: "attention",
    ...cache,
    tokenCount: fixture.word(TOKENS),
    position: fixture.word(start),
    query: query.handle,
    target,
    headCount: HEAD_COUNT,
    keyValueHeadCount: 1,
    headDim: HEAD_DIM,
    scale: 0.3,
    window,
  });
  await fixture.run(ops);
  return [...set.memory.bytes(target, targetBytes)];
}

/** A cache need not be longer than a window and the tokens that attend together: sums keep their order, wherever the ring begins. */
export function ringCases(set: () => KernelSet): void {
  it.each([
    [5, 40],
    [64, 200],
    [1030, 1100],
  ] as const)(
    "attention over a window of %i gives the bits of a whole cache, at %i",
    async (window, last) => {
      for (const cacheDtype of ["f32", "f16", "q8_0"] as const) {
        for (const start of [last - 1, last]) {
          const shape = { start, window, cacheDtype };
          const whole = await attendRing(set(), { ...shape, capacityTokens: start + TOKENS });
          const ring = await attendRing(set(), { ...shape, capacityTokens: window + TOKENS - 1 });
          expect(ring).toEqual(whole);
        }
      }
    },
  );
}

import { ReadPlan, type ReadPlanner, WantedReads } from "@flashlm/contracts";
import { createReadPlanner } from "@flashlm/flash-io";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { DepthCost, RequestCosts } from "../src/request-cost.js";
import { profileOf } from "./support/profiles.js";

const KIB = 1024;
/** A request costs 20 us and a byte what it costs at 2 GB/s: a gap is worth three quarters of 40,000 bytes, less a quarter of the record after it. */
const nvme = profileOf((chunkBytes) => 0.02 + chunkBytes / 2e6);

function readsOf(planner: ReadPlanner, extents: readonly (readonly [number, number])[]): number[][] {
  const wanted = new WantedReads(extents.length);
  for (const [offsetBytes, lengthBytes] of extents) wanted.push(offsetBytes, lengthBytes);
  const plan = new ReadPlan(extents.length);
  planner.plan(wanted, 1e9, plan);
  return Array.from({ length: plan.readCount }, (_, read) => [
    plan.readOffsetBytes[read]!,
    plan.readLengthBytes[read]!,
  ]);
}

describe("costs", () => {
  test("a linear device's are found again, between and beyond what was measured", () => {
    const costs = new RequestCosts(nvme, 32, KIB * KIB);
    for (const lengthBytes of [4096, 5000, 16_384, 700_001, 4 * KIB * KIB]) {
      expect(costs.at(32).requestMs(lengthBytes)).toBeCloseTo(0.02 + lengthBytes / 2e6, 9);
    }
    expect(costs.at(32).requestMs(512)).toBe(costs.at(32).requestMs(4096));
    expect([1, 3, 32, 500].map((count) => costs.at(count).depth)).toEqual([1, 2, 32, 32]);
  });

  test("a cell that was disturbed costs no more than the longer read, nor than its halves", () => {
    const cost = new DepthCost(1, [
      [4096, 0.9],
      [8192, 0.1],
      [16_384, 0.8],
      [32_768, 0.3],
    ]);
    expect([4096, 8192, 16_384, 32_768].map((lengthBytes) => cost.requestMs(lengthBytes))).toEqual([
      0.1, 0.1, 0.2, 0.3,
    ]);
    expect(cost.measuredRequestMs(16_384)).toBe(0.8);
  });

  test("no gap longer than gapBytesMax pays, whatever stands beside it", () => {
    const costs = new RequestCosts(nvme, 32, KIB * KIB);
    // 0.015 ms of a saved request are 30,000 bytes; the largest saving is beside the shortest record.
    expect(costs.gapBytesMax).toBeGreaterThan(28_000);
    expect(costs.gapBytesMax).toBeLessThan(30_000);
    fc.assert(
      fc.property(
        fc.integer({ min: 4096, max: 500_000 }),
        fc.integer({ min: 4096, max: 500_000 }),
        (left, right) => {
          const together = left + right + costs.gapBytesMax + 100;
          expect(costs.at(32).mergePays(left, right, together, 0)).toBe(false);
        },
      ),
    );
  });

  test("many bytes are cut long, few so that the queue is not empty", () => {
    // Alone, a request takes 0.2 ms; 32 of them overlap until 4 GB/s.
    const profile = profileOf((chunkBytes, depth) =>
      Math.max((0.2 + chunkBytes / 1e6) / depth, chunkBytes / 4e6),
    );
    const costs = new RequestCosts(profile, 32, KIB * KIB);
    expect(costs.readBytesFor(1e9)).toBe(KIB * KIB);
    expect(costs.readBytesFor(1e6)).toBeLessThan(128 * KIB);
    expect(costs.readBytesFor(1e6)).toBeGreaterThanOrEqual(16 * KIB);
  });

  test("a profile without a figure at the reader's depth is refused", () => {
    const empty = {
      ...nvme,
      cells: nvme.cells.map((cell) => ({ ...cell, origin: "skipped" as const, bytesPerSecond: null })),
    };
    expect(() => createReadPlanner({ alignmentBytes: 512, profile: empty })).toThrow(
      expect.objectContaining({ code: "FLASH_PROFILE_FORMAT" }),
    );
  });
});

describe("a planner with a profile", () => {
  const planner = createReadPlanner({ alignmentBytes: 512, profile: nvme });

  test("reads a gap that is cheaper than a request, and no other", () => {
    expect(planner.basis).toBe("device profile of 2026-11-23");
    const near = [0, 4096 + 20_480, 2 * (4096 + 20_480)] as const;
    expect(
      readsOf(
        planner,
        near.map((offset) => [offset, 4096] as const),
      ),
    ).toEqual([[0, 53_248]]);
    const far = [0, 4096 + 32_768] as const;
    expect(
      readsOf(
        planner,
        far.map((offset) => [offset, 4096] as const),
      ),
    ).toEqual([
      [0, 4096],
      [36_864, 4096],
    ]);
    // The defaults read neither: their limit is 16 KiB.
    const plain = createReadPlanner({ alignmentBytes: 512 });
    expect(
      readsOf(
        plain,
        near.map((offset) => [offset, 4096] as const),
      ),
    ).toHaveLength(3);
  });

  test("counts the copies that a merge costs records with a place of their own", () => {
    const slowCopies = createReadPlanner({
      alignmentBytes: 512,
      profile: { ...nvme, copyBytesPerSecond: 1e8 },
    });
    const plan = new ReadPlan(2);
    const wanted = new WantedReads(2);
    for (const target of [0, 65_536]) wanted.push(target === 0 ? 0 : 8192, 4096, target);
    planner.plan(wanted, 1e6, plan);
    expect(plan.readCount).toBe(1);
    slowCopies.plan(wanted, 1e6, plan);
    expect(plan.readCount).toBe(2);
  });

  test("its model never says that merging lost time", () => {
    const cost = new RequestCosts(nvme, 32, KIB * KIB).at(32);
    const records = fc.array(fc.tuple(fc.nat(60_000), fc.integer({ min: 1, max: 30_000 })), {
      minLength: 32,
      maxLength: 60,
    });
    fc.assert(
      fc.property(records, (drawn) => {
        let offsetBytes = 0;
        const extents = drawn.map(([gapBytes, lengthBytes]) => {
          const start = offsetBytes + gapBytes;
          offsetBytes = start + lengthBytes;
          return [start, lengthBytes] as const;
        });
        const total = (reads: readonly (readonly number[])[]): number =>
          reads.reduce((sum, read) => sum + cost.requestMs(read[1]!), 0);
        const alone = createReadPlanner({ alignmentBytes: 512, gapBytesMax: 0, readBytesMax: 1 });
        expect(total(readsOf(planner, extents))).toBeLessThanOrEqual(total(readsOf(alone, extents)) + 1e-9);
      }),
      { seed: 3 },
    );
  });
});

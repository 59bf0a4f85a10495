import type { NeuronLease } from "@flashlm/contracts";
import { NO_SLOT } from "@flashlm/contracts";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { compactCache, slotMapCache } from "../src/index.js";
import { LayerModel } from "./model.js";

const UNIT_COUNT = 12;

interface Step {
  readonly ids: number[];
  readonly admit: boolean;
  readonly loaded: boolean;
  readonly advance: boolean;
}

const step: fc.Arbitrary<Step> = fc.record({
  ids: fc
    .uniqueArray(fc.nat(UNIT_COUNT - 1), { maxLength: UNIT_COUNT })
    .map((ids) => ids.sort((a, b) => a - b)),
  admit: fc.oneof({ weight: 9, arbitrary: fc.constant(true) }, { weight: 1, arbitrary: fc.constant(false) }),
  loaded: fc.oneof({ weight: 9, arbitrary: fc.constant(true) }, { weight: 1, arbitrary: fc.constant(false) }),
  advance: fc.boolean(),
});

const sizes = fc
  .record({
    slotCount: fc.constantFrom(0, 1, 2, 4, 8, 12, 15),
    // All of them too: a layer that is wholly pinned takes a shorter way.
    pinned: fc.oneof({ weight: 4, arbitrary: fc.nat(4) }, { weight: 1, arbitrary: fc.constant(UNIT_COUNT) }),
    windowTokens: fc.constantFrom(1, 2, 5),
  })
  .map(({ slotCount, pinned, windowTokens }) => ({
    slotCount,
    pinnedCount: Math.min(pinned, slotCount),
    windowTokens,
  }));

function overflowIds(lease: NeuronLease, ids: readonly number[]): number[] {
  return ids.filter((_, position) => lease.slots[position] === NO_SLOT);
}

describe.each([
  { part: compactCache, eager: true },
  { part: slotMapCache, eager: false },
])("$part.name against a plain model", ({ part, eager }) => {
  it("has the same hits, overflows, residents and evictions after every step", () => {
    fc.assert(
      fc.property(sizes, fc.array(step, { maxLength: 30 }), (layer, steps) => {
        const bytes = new Int32Array(layer.slotCount).fill(-1);
        const model = new LayerModel(eager, layer.slotCount, layer.pinnedCount, layer.windowTokens);
        const cache = part.create({
          unit: "expert",
          layers: [{ unitCount: UNIT_COUNT, slotCount: layer.slotCount, pinnedCount: layer.pinnedCount }],
          windowTokens: layer.windowTokens,
          moveRecord: (_layerIndex, fromSlot, toSlot) => bytes.copyWithin(toSlot, fromSlot, fromSlot + 1),
        });
        let token = 0;
        for (const { ids, admit, loaded, advance } of steps) {
          const lease = cache.acquire(0, Uint32Array.from(ids), ids.length, admit ? "window" : "none");
          const expected = model.acquire(ids, token, admit);
          const missIds = Array.from(
            lease.missPositions.subarray(0, lease.missCount),
            (position) => ids[position]!,
          );
          expect(missIds).toEqual(expected.missIds);
          expect(overflowIds(lease, ids)).toEqual(expected.overflowIds);
          ids.forEach((id, position) => {
            const slot = lease.slots[position]!;
            if (slot === NO_SLOT) return;
            if (missIds.includes(id)) bytes[slot] = id;
            else expect(bytes[slot]).toBe(id);
            expect(model.rows[slot]?.id).toBe(id);
          });
          lease.release({ loaded });
          if (!loaded) model.forget(expected.missIds);
          expect(Array.from(cache.residentIds(0))).toEqual(model.residentIds());
          expect(cache.stats().evictCount).toBe(model.evictCount);
          if (!advance) continue;
          cache.advanceToken();
          token++;
        }
      }),
      { numRuns: 1500, seed: 7 },
    );
  });
});

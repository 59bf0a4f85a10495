import { STEP_OUTSIDE } from "@flashlm/contracts";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { WindowRule } from "../../src/speculative/window-rule.js";
import { TokenUnion } from "../../src/token-union.js";

describe("the neurons of several tokens", () => {
  // One token's mask is read four neurons at a time where it lies so.
  it.each([
    [24, 0],
    [27, 4],
    [24, 1],
  ])(
    "are those of any of them, with the last that wants each inside the window: %i at byte %i",
    (width, at) => {
      const row = fc.array(fc.boolean(), { minLength: width, maxLength: width });
      const masks = fc.array(row, { minLength: 1, maxLength: 9 });
      fc.assert(
        fc.property(masks, fc.nat(9), (rows, windowTokens) => {
          const union = new TokenUnion(width);
          const mask = new Uint8Array(at + rows.length * width).subarray(at);
          mask.set(rows.flat().map(Number));
          const count = union.of(mask, rows.length, windowTokens);
          const wanted = rows[0]!.flatMap((_, id) => (rows.some((row) => row[id]) ? [id] : []));
          expect([...union.ids.subarray(0, count)]).toEqual(wanted);
          const steps = wanted.map((id) => {
            const last = rows.slice(0, windowTokens).findLastIndex((row) => row[id]);
            return last < 0 ? STEP_OUTSIDE : last;
          });
          expect([...union.steps.subarray(0, count)]).toEqual(steps);
        }),
      );
    },
  );
});

describe("the window of a verified draft", () => {
  it("ends at alpha * (lambda + 1), alpha being learnt from the passes before", () => {
    const rule = new WindowRule();
    expect(rule.windowTokens(5)).toBe(5);
    for (let pass = 0; pass < 60; pass++) rule.observe(3, 5);
    expect([5, 9, 2, 1].map((passTokens) => rule.windowTokens(passTokens))).toEqual([3, 5, 1, 1]);
    for (let pass = 0; pass < 60; pass++) rule.observe(1, 1);
    expect(rule.windowTokens(5)).toBe(3);
    for (let pass = 0; pass < 80; pass++) rule.observe(1, 9);
    expect(rule.windowTokens(9)).toBe(1);
  });
});

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createStopMatcher } from "../../src/sampling/index.js";

function run(stops: readonly string[], pieces: readonly string[]): { text: string; stopped: boolean } {
  const matcher = createStopMatcher(stops);
  let text = "";
  for (const piece of pieces) {
    const { emit, stopped } = matcher.push(piece);
    text += emit;
    if (stopped) return { text: text + matcher.end(), stopped };
  }
  return { text: text + matcher.end(), stopped: false };
}

/** Reads the text letter by letter: at the first place where some stop has just ended, what stands before the longest. */
function oracle(stops: readonly string[], text: string): { text: string; stopped: boolean } {
  for (let end = 1; end <= text.length; end++) {
    const ended = stops
      .filter((stop) => text.slice(0, end).endsWith(stop))
      .sort((a, b) => b.length - a.length);
    if (ended[0] !== undefined) return { text: text.slice(0, end - ended[0].length), stopped: true };
  }
  return { text, stopped: false };
}

describe("createStopMatcher", () => {
  it("holds back what may become a stop, and no more", () => {
    const matcher = createStopMatcher(["</s>", "\n\n"]);
    expect(matcher.push("Hello <")).toEqual({ emit: "Hello ", stopped: false });
    expect(matcher.push("/")).toEqual({ emit: "", stopped: false });
    expect(matcher.push("b>\n")).toEqual({ emit: "</b>", stopped: false });
    expect(matcher.push("x</s>y")).toEqual({ emit: "\nx", stopped: true });
    expect(matcher.push("more")).toEqual({ emit: "", stopped: true });
    expect(matcher.end()).toBe("");
  });

  it("gives back at the end what was no stop", () => {
    const matcher = createStopMatcher(["STOP"]);
    expect(matcher.push("a STO")).toEqual({ emit: "a ", stopped: false });
    expect(matcher.end()).toBe("STO");
    expect(matcher.end()).toBe("");
  });

  it("passes everything on without stops", () => {
    expect(run([], ["a", "", "b"])).toEqual({ text: "ab", stopped: false });
  });

  it("agrees with the oracle however the text is cut", () => {
    const letters = (length: number): fc.Arbitrary<string> =>
      fc.string({ unit: fc.constantFrom("a", "b", "c"), minLength: 1, maxLength: length });
    fc.assert(
      fc.property(
        fc.array(letters(4), { maxLength: 3 }),
        fc.array(letters(6), { maxLength: 8 }),
        (stops, pieces) => {
          expect(run(stops, pieces)).toEqual(oracle(stops, pieces.join("")));
        },
      ),
      { numRuns: 500 },
    );
  });

  it("refuses empty, long and too many stops", () => {
    const refused = expect.objectContaining({ code: "ENGINE_OPTION" });
    expect(() => createStopMatcher([""])).toThrow(refused);
    expect(() => createStopMatcher(["x".repeat(5000)])).toThrow(refused);
    expect(() => createStopMatcher(new Array<string>(300).fill("x"))).toThrow(refused);
  });
});

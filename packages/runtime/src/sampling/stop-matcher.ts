import { FlashlmError } from "@flashlm/contracts";

/** More stop strings than any client sends; each is searched for in every piece of text. */
export const STOP_COUNT_MAX = 256;
/** Text of up to this many characters may be held back. */
export const STOP_LENGTH_MAX = 4096;

/** Finds stop strings in text that arrives in pieces. The result does not depend on how the text was cut. */
export interface StopMatcher {
  /** Takes a piece; returns the text that is certain to stand before any stop string. After a stop nothing more is emitted. */
  push(text: string): { emit: string; stopped: boolean };
  /** The text ends here: returns what was held back. Empty after a stop. */
  end(): string;
}

function checkStops(stops: readonly string[]): void {
  const bad = (expected: string, actual: string): FlashlmError =>
    new FlashlmError("ENGINE_OPTION", `stop strings: expected ${expected}, got ${actual}`, {
      expected,
      actual,
    });
  if (stops.length > STOP_COUNT_MAX) throw bad(`at most ${STOP_COUNT_MAX}`, `${stops.length}`);
  for (const stop of stops) {
    if (typeof stop !== "string" || stop === "")
      throw bad("texts that are not empty", JSON.stringify(stop) ?? "undefined");
    if (stop.length > STOP_LENGTH_MAX)
      throw bad(`texts of at most ${STOP_LENGTH_MAX} characters`, `${stop.length}`);
  }
}

/** Where the stop that is complete first begins (of several that end together, the longest), or -1. */
function findStop(text: string, stops: readonly string[]): number {
  let start = -1;
  let end = Number.POSITIVE_INFINITY;
  for (const stop of stops) {
    const found = text.indexOf(stop);
    if (found < 0) continue;
    const foundEnd = found + stop.length;
    if (foundEnd < end || (foundEnd === end && found < start)) {
      start = found;
      end = foundEnd;
    }
  }
  return start;
}

/** Length of the longest end of `text` that may become a stop string. */
function heldLength(text: string, stops: readonly string[]): number {
  let held = 0;
  for (const stop of stops) {
    for (let length = Math.min(stop.length - 1, text.length); length > held; length--) {
      if (text.endsWith(stop.slice(0, length))) held = length;
    }
  }
  return held;
}

/** Makes a matcher for the given texts; an empty list never stops. @throws ENGINE_OPTION. */
export function createStopMatcher(stops: readonly string[]): StopMatcher {
  checkStops(stops);
  const wanted = [...stops];
  let held = "";
  let stopped = false;
  return {
    push(text: string): { emit: string; stopped: boolean } {
      if (stopped) return { emit: "", stopped };
      const all = held + text;
      const found = findStop(all, wanted);
      stopped = found >= 0;
      const emitLength = stopped ? found : all.length - heldLength(all, wanted);
      held = stopped ? "" : all.slice(emitLength);
      return { emit: all.slice(0, emitLength), stopped };
    },
    end(): string {
      const rest = held;
      held = "";
      return rest;
    },
  };
}

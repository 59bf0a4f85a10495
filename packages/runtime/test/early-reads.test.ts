import { FlashlmError, type PendingReads, ReadPlan } from "@flashlm/contracts";
import { describe, expect, it } from "vitest";
import { awaitWanted } from "../src/early-reads.js";
import type { Flight } from "../src/flight.js";

type Fate = "well" | "fails";

/** Reads that end one by one in `arrival`, and what became of them. */
class ScriptedReads implements PendingReads {
  readonly count: number;
  readonly started: number[] = [];
  readonly #arrival: readonly number[];
  readonly #fates: readonly Fate[];
  /** Reads that the device has begun when the others are given up: those must end. */
  readonly #begunCount: number;
  #isCancelled = false;

  constructor(arrival: readonly number[], fates: readonly Fate[], begunCount: number) {
    this.count = arrival.length;
    this.#arrival = arrival;
    this.#fates = fates;
    this.#begunCount = begunCount;
  }

  landed(index: number): boolean {
    return this.started.includes(index) && this.#fates[index] === "well";
  }

  waitNext(): number {
    if (this.started.length === this.count) return -1;
    const read = this.#arrival[this.started.length]!;
    this.started.push(read);
    if (this.#fates[read] === "well") return read;
    throw new FlashlmError("FLASH_IO", "scripted", { readIndex: read });
  }

  waitAll(): void {
    let failure: unknown;
    const endCount = this.#isCancelled ? Math.max(this.started.length, this.#begunCount) : this.count;
    while (this.started.length < endCount) {
      try {
        this.waitNext();
      } catch (error) {
        failure ??= error;
      }
    }
    if (failure !== undefined) throw failure;
    if (endCount < this.count) throw new FlashlmError("FLASH_ABORTED", "scripted");
  }

  cancel(): void {
    this.#isCancelled = true;
  }

  async settled(): Promise<void> {
    this.waitAll();
  }
}

/** Four reads of 100, 200, 300 and 400 bytes; the third holds records 2 and 3, the fourth record 4. */
function flightOf(pending: PendingReads): Flight {
  const plan = new ReadPlan(8);
  plan.readCount = 4;
  plan.readLengthBytes.set([100, 200, 300, 400]);
  plan.pieceStart.set([0, 1, 2, 4, 5]);
  plan.pieceWanted.set([0, 1, 2, 3, 4]);
  const parts: Partial<Flight> = { plan, pending, count: 5, wantedPosition: Uint32Array.of(0, 1, 2, 3, 4) };
  return parts as Flight;
}

describe("early reads", () => {
  const allWell: readonly Fate[] = ["well", "well", "well", "well"];
  const run = (pending: PendingReads, wanted: readonly number[]) => {
    const isLost = new Uint8Array(5).fill(7);
    const outcome = awaitWanted(flightOf(pending), (record) => wanted.includes(record), isLost);
    return { ...outcome, lost: [...isLost] };
  };

  it("waits for all where each holds a wanted record", () => {
    const pending = new ScriptedReads([2, 0, 3, 1], allWell, 0);
    expect(run(pending, [0, 1, 3, 4])).toEqual({ cancelledCount: 0, wastedBytes: 0, lost: [0, 0, 0, 0, 0] });
    expect(pending.started).toHaveLength(4);
  });

  it("waits for wanted ones alone, and loses what has not begun", () => {
    const pending = new ScriptedReads([0, 1, 2, 3], allWell, 0);
    expect(run(pending, [1])).toEqual({ cancelledCount: 3, wastedBytes: 100, lost: [0, 0, 1, 1, 1] });
    expect(pending.started).toEqual([0, 1]);
  });

  it("waits for what the device has begun, since the targets are not free before", () => {
    const pending = new ScriptedReads([1, 3, 0, 2], allWell, 3);
    expect(run(pending, [1])).toEqual({ cancelledCount: 2, wastedBytes: 500, lost: [0, 0, 1, 1, 0] });
    expect(pending.started).toEqual([1, 3, 0]);
  });

  it("waits for none where nothing is wanted", () => {
    const pending = new ScriptedReads([0, 1, 2, 3], allWell, 0);
    expect(run(pending, [])).toEqual({ cancelledCount: 5, wastedBytes: 0, lost: [1, 1, 1, 1, 1] });
    expect(pending.started).toEqual([]);
  });

  it("an error of a read that nobody needs loses its records, one of a wanted record is thrown", () => {
    const failing: readonly Fate[] = ["well", "well", "fails", "well"];
    const pending = new ScriptedReads([2, 0, 3, 1], failing, 0);
    expect(run(pending, [0])).toEqual({ cancelledCount: 4, wastedBytes: 0, lost: [0, 1, 1, 1, 1] });
    expect(() => run(new ScriptedReads([0, 2, 1, 3], failing, 0), [3])).toThrow("scripted");
  });
});

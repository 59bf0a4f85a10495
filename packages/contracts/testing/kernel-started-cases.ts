import { expect, it } from "vitest";
import type { KernelProgram, KernelSet, MemoryHandle } from "../src/index.js";
import { KernelFixture } from "./kernel-fixture.js";

const ROWS = 700;
const COLUMNS = 512;

/** A program of three products, each of which needs the one before, and where it leaves its result. */
function makeChain(set: KernelSet, seed: number): { program: KernelProgram; target: MemoryHandle } {
  const fixture = new KernelFixture(set, seed);
  const tokenCount = fixture.word(1);
  const [first, second, third] = [ROWS, COLUMNS, ROWS].map((count) => fixture.memory(count * 4));
  const product = (rows: number, columns: number, source: MemoryHandle, target: MemoryHandle) =>
    ({
      op: "matmul",
      tokenCount,
      weight: fixture.weight("f16", rows, columns).ref,
      source,
      target,
      accumulate: false,
    }) as const;
  const program = set.compile([
    product(ROWS, COLUMNS, fixture.vector(COLUMNS).handle, first!),
    product(COLUMNS, ROWS, first!, second!),
    product(ROWS, COLUMNS, second!, third!),
  ]);
  return { program, target: third! };
}

/** Keeps the caller busy for some hundred microseconds. */
function spend(microseconds: number): void {
  const until = performance.now() + microseconds / 1000;
  while (performance.now() < until);
}

/** Cases for sets that start programs. */
export function startedCases(set: () => KernelSet): void {
  it("a started program gives the bits that running it gives, whatever its caller does meanwhile", async () => {
    const { program, target } = makeChain(set(), 91);
    const words = set().memory.words(target, ROWS);
    await set().run(program);
    const wanted = [...words];
    expect(wanted.some((word) => word !== 0)).toBe(true);
    for (let round = 0; round < 60; round++) {
      words.fill(0);
      const started = set().start!(program);
      // From finishing at once to coming back long after it has ended, and after the threads fell asleep.
      spend([0, 30, 300, 3000][round % 4]!);
      await started.finish();
      expect([...words]).toEqual(wanted);
      if (round % 10 === 9) await new Promise((resolve) => setTimeout(resolve, 5));
    }
  });

  it("refuses everything else until a started program is finished, and to finish it twice", async () => {
    const { program } = makeChain(set(), 92);
    const started = set().start!(program);
    const refusal = expect.objectContaining({ code: "KERNEL_SHAPE" });
    expect(() => set().run(program)).toThrow(refusal);
    expect(() => set().start!(program)).toThrow(refusal);
    expect(() => set().compile([])).toThrow(refusal);
    await started.finish();
    expect(() => started.finish()).toThrow(refusal);
    await set().run(program);
  });

  it("a fault of a started program comes when it is finished, and the next one runs", async () => {
    const fixture = new KernelFixture(set(), 93);
    const table = fixture.weight("f32", 3, 4).ref;
    const target = fixture.memory(16);
    const rowIds = fixture.list([3]);
    const program = set().compile([{ op: "gatherRows", tokenCount: fixture.word(1), table, rowIds, target }]);
    const started = set().start!(program);
    expect(() => started.finish()).toThrow(expect.objectContaining({ code: "KERNEL_SHAPE" }));
    set().memory.words(rowIds, 1)[0] = 2;
    await set().start!(program).finish();
    expect(set().memory.words(target, 1)[0]).not.toBe(0x7fff7fff);
  });

  it("ends a started program when it is closed", async () => {
    const { program } = makeChain(set(), 94);
    set().start!(program);
    await set().close();
  });
}

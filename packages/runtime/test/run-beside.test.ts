import type { KernelProgram, KernelSet } from "@flashlm/contracts";
import { expect, it } from "vitest";
import { runBeside } from "../src/run-beside.js";

const PROGRAM: KernelProgram = { opCount: 1 };

/** A set that notes what is asked of it. */
function notingKernels(starts: boolean, fault?: Error): { kernels: KernelSet; notes: string[] } {
  const notes: string[] = [];
  const end = (note: string): void => {
    notes.push(note);
    if (fault) throw fault;
  };
  const start = (): { finish(): void } => {
    notes.push("start");
    return { finish: () => end("finish") };
  };
  const kernels = { run: () => end("run"), ...(starts ? { start } : {}) };
  return { kernels: kernels as Partial<KernelSet> as KernelSet, notes };
}

it("does the work between start and finish, or before the program where nothing can be started", async () => {
  for (const [starts, wanted] of [
    [true, ["start", "work", "finish"]],
    [false, ["work", "run"]],
  ] as const) {
    const { kernels, notes } = notingKernels(starts);
    await runBeside(kernels, PROGRAM, () => notes.push("work"));
    expect(notes).toEqual(wanted);
  }
});

it("ends the program before it passes on what the work threw", async () => {
  const { kernels, notes } = notingKernels(true);
  const fail = (): never => {
    throw new Error("work");
  };
  await expect(runBeside(kernels, PROGRAM, fail)).rejects.toThrow("work");
  expect(notes).toEqual(["start", "finish"]);
  const faulty = notingKernels(true, new Error("fault"));
  await expect(runBeside(faulty.kernels, PROGRAM, fail)).rejects.toThrow("work");
  expect(faulty.notes).toEqual(["start", "finish"]);
});

it("passes on a fault of the program", async () => {
  for (const starts of [true, false]) {
    const { kernels } = notingKernels(starts, new Error("fault"));
    await expect(async () => runBeside(kernels, PROGRAM, () => {})).rejects.toThrow("fault");
  }
});

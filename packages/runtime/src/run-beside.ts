import type { KernelProgram, KernelSet, StartedProgram } from "@flashlm/contracts";

/**
 * Runs a program while `work` is done, which must not touch what the program reads and writes, nor the kernels. Where they cannot do both at once, the work
 * comes first. Returns a promise only where the kernels do, or where the work failed. @throws what either throws; the program has ended then.
 */
export function runBeside(
  kernels: KernelSet,
  program: KernelProgram,
  work: () => void,
): void | Promise<void> {
  const started = kernels.start?.(program);
  if (!started) {
    work();
    return kernels.run(program);
  }
  try {
    work();
  } catch (error) {
    return failAfter(started, error);
  }
  return started.finish();
}

/** What the work says matters more than a fault of the program. */
async function failAfter(started: StartedProgram, error: unknown): Promise<never> {
  try {
    await started.finish();
  } catch {
    // See above.
  }
  throw error;
}

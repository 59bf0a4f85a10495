import type { KernelProgram, KernelSet } from "@flashlm/contracts";

/**
 * Runs a program while `work` is done, which must not touch what the program reads and writes, nor the kernels. Where they cannot do both at once, the work
 * comes first. @throws what either throws; the program has ended then.
 */
export async function runBeside(kernels: KernelSet, program: KernelProgram, work: () => void): Promise<void> {
  const started = kernels.start?.(program);
  try {
    work();
  } catch (error) {
    try {
      await started?.finish();
    } catch {
      // What the work says matters more than a fault of the program.
    }
    throw error;
  }
  const running = started ? started.finish() : kernels.run(program);
  if (running) await running;
}

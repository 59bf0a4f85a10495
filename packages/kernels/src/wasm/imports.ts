/// <reference path="./web-assembly.d.ts" />

/** Does units [first, last) of an op whose words lie at `op`, on a thread. */
type Step = (
  code: number,
  op: number,
  first: number,
  last: number,
  tokenCount: number,
  thread: number,
) => void;

/** What the compiled kernels export. */
export interface KernelExports {
  initialise(threadCount: number, scratchStart: number, scratchBytes: number, tokensBytes: number): void;
  run(): number;
  work(thread: number): void;
  unitsOf(code: number, op: number, tokenCount: number): number;
  readonly step: Step;
}

/** What the compiled kernels import: their memory, a sleep until a word of it changes, and steps in the other memories. */
function kernelImports(memory: WebAssembly.Memory, steps: readonly Step[]): object {
  const words = new Int32Array(memory.buffer);
  const sleep = (addressBytes: number, expected: number, timeoutMs: number): void => {
    Atomics.wait(words, addressBytes / 4, expected, timeoutMs);
  };
  const elsewhere = (index: number, ...step: Parameters<Step>): void => steps[index]!(...step);
  return { env: { memory, sleep, elsewhere } };
}

/** One instance of the kernels per memory, for one thread. The first can have the others do its work. */
export function instantiateEach(
  module: WebAssembly.Module,
  memories: readonly WebAssembly.Memory[],
): KernelExports[] {
  const steps: Step[] = [];
  const instances = memories.map(
    (memory) =>
      new WebAssembly.Instance(module, kernelImports(memory, steps)).exports as unknown as KernelExports,
  );
  steps.push(...instances.map(({ step }) => step));
  return instances;
}

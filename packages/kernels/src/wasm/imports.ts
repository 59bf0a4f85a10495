/// <reference path="./web-assembly.d.ts" />

/** What the compiled kernels import: their memory, and a sleep until a word of it changes. */
export function kernelImports(memory: WebAssembly.Memory): object {
  const words = new Int32Array(memory.buffer);
  const sleep = (addressBytes: number, expected: number, timeoutMs: number): void => {
    Atomics.wait(words, addressBytes / 4, expected, timeoutMs);
  };
  return { env: { memory, sleep } };
}

import { createWasmKernels, KERNEL_OVERHEAD_BYTES, wasmVariants } from "@flashlm/kernels";
import { expect, it } from "vitest";

const COLUMNS = 96;
const ROWS = 5;
/** Numbers of int8 size, so that rounding with a scale of 1 keeps them; some blocks are all negative, some of both signs. */
const sourceAt = (token: number, i: number): number =>
  i % 32 === 0 ? -127 : ((i * 37 + token * 11) % 128) * (i < 32 || i % 3 === 0 ? -1 : 1);
/** Blocks of -128 only, of 127 only, and of every value. */
const weightAt = (row: number, i: number): number =>
  row === 0 ? -128 : row === 1 ? 127 : i % 2 ? -128 : ((i * 29 + row * 7) % 256) - 128;

it.each(wasmVariants().flatMap((variant) => [1, 4, 6].map((tokens) => [variant, tokens] as const)))(
  "dots of the largest int8 numbers are exact: %s, %i tokens",
  async (variant, tokens) => {
    const set = await createWasmKernels({
      memoryBytes: KERNEL_OVERHEAD_BYTES + 65536,
      threadCount: 1,
      variant,
    });
    const { memory } = set;
    const base = memory.allocate((ROWS * COLUMNS * 34) / 32);
    const bytes = memory.bytes(base, (ROWS * COLUMNS * 34) / 32);
    for (let block = 0; block < (ROWS * COLUMNS) / 32; block++) {
      // A scale of 1.
      bytes.set([0, 0x3c], block * 34);
      for (let k = 0; k < 32; k++) {
        const at = block * 32 + k;
        bytes[block * 34 + 2 + k] = weightAt(Math.floor(at / COLUMNS), at % COLUMNS);
      }
    }
    const [source, target] = [memory.allocate(tokens * COLUMNS * 4), memory.allocate(tokens * ROWS * 4)];
    memory.floats(source, tokens * COLUMNS).forEach((_, at, all) => {
      all[at] = sourceAt(Math.floor(at / COLUMNS), at % COLUMNS);
    });
    const tokenCount = memory.allocate(4);
    memory.words(tokenCount, 1)[0] = tokens;
    const weight = { dtype: "q8_0", rowCount: ROWS, columnCount: COLUMNS, base } as const;
    const product = { op: "matmul", precision: "q8", tokenCount, weight, source, target } as const;
    await set.run(set.compile([{ ...product, accumulate: false }]));
    const wanted = Array.from({ length: tokens * ROWS }, (_, at) => {
      const [token, row] = [Math.floor(at / ROWS), at % ROWS];
      let sum = 0;
      for (let i = 0; i < COLUMNS; i++) sum += weightAt(row, i) * sourceAt(token, i);
      return sum;
    });
    expect([...memory.floats(target, tokens * ROWS)]).toEqual(wanted);
    await set.close();
  },
);

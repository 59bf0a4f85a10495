import type { KernelSet, KernelSetOptions } from "@flashlm/contracts";
import {
  createNativeKernels,
  createReferenceKernels,
  createWasmKernels,
  kernelMemoryBytes,
  kernelOverheadBytes,
  nativeVariants,
  wasmVariants,
} from "@flashlm/kernels";
import { describe, expect, it } from "vitest";

/** The most columns that any target takes. */
const COLUMNS = 65_536;
const ROWS = 3;
const TOKENS = 5;
/** The number of the bfloat16 pattern 0x3f3f. */
const WEIGHT = 0.74609375;

const natives = (await nativeVariants()).filter(({ missing }) => missing === "");
const TARGETS: readonly (readonly [string, (options: KernelSetOptions) => Promise<KernelSet>])[] = [
  ["reference", createReferenceKernels],
  ...wasmVariants().map(
    (variant) =>
      [`wasm-${variant}`, (options: KernelSetOptions) => createWasmKernels({ ...options, variant })] as const,
  ),
  ...natives.map(
    ({ name }) =>
      [
        `native-${name}`,
        (options: KernelSetOptions) => createNativeKernels({ ...options, variant: name }),
      ] as const,
  ),
];

describe.each(TARGETS)("the longest rows: %s", (_, create) => {
  it("are multiplied to their last column, and longer ones are refused", async () => {
    const needs = { threadCount: 2, columnCountMax: COLUMNS };
    const weightBytes = ROWS * COLUMNS * 2;
    const heapBytes = weightBytes + TOKENS * COLUMNS * 4 + 65_536;
    const set = await create({ ...needs, memoryBytes: kernelMemoryBytes(heapBytes, needs) });
    try {
      const { memory } = set;
      const tokenCount = memory.allocate(16);
      memory.words(tokenCount, 1)[0] = TOKENS;
      const base = memory.allocate(weightBytes);
      memory.bytes(base, weightBytes).fill(0x3f);
      const source = memory.allocate(TOKENS * COLUMNS * 4);
      const tokens = memory.floats(source, TOKENS * COLUMNS);
      // Sums that binary32 has exactly, the first token's of its last column alone.
      tokens.fill(0, 0, COLUMNS);
      tokens[COLUMNS - 1] = 1;
      for (let token = 1; token < TOKENS; token++) tokens.fill(token, token * COLUMNS, (token + 1) * COLUMNS);
      const target = memory.allocate(TOKENS * ROWS * 4);
      const product = (columnCount: number) =>
        set.compile([
          {
            op: "matmul",
            tokenCount,
            weight: { dtype: "bf16", rowCount: ROWS, columnCount, base },
            source,
            target,
            accumulate: false,
          },
        ]);
      await set.run(product(COLUMNS));
      const sums = [WEIGHT, ...[1, 2, 3, 4].map((value) => value * COLUMNS * WEIGHT)];
      expect([...memory.floats(target, TOKENS * ROWS)]).toEqual(sums.flatMap((sum) => [sum, sum, sum]));
      expect(() => product(COLUMNS + 32)).toThrow(expect.objectContaining({ code: "KERNEL_SHAPE" }));
    } finally {
      await set.close();
    }
  });

  it("need a set that was made for them", async () => {
    const memoryBytes = kernelOverheadBytes({ threadCount: 1 }) + 2 ** 20;
    const set = await create({ threadCount: 1, memoryBytes });
    const [base, source, target] = [0, 1, 2].map(() => set.memory.allocate(2 ** 17));
    const weight = { dtype: "f32", rowCount: 1, columnCount: 18_176, base: base! } as const;
    const tokenCount = set.memory.allocate(16);
    expect(() =>
      set.compile([
        { op: "matmul", tokenCount, weight, source: source!, target: target!, accumulate: false },
      ]),
    ).toThrow(expect.objectContaining({ code: "KERNEL_SHAPE" }));
    await set.close();
    const columnCountMax = COLUMNS + 1;
    await expect(create({ threadCount: 1, columnCountMax, memoryBytes: 2 ** 26 })).rejects.toMatchObject({
      code: "KERNEL_NOT_SUPPORTED",
    });
  });
});

import {
  createNativeKernels,
  createWasmKernels,
  diagnoseKernels,
  KERNEL_OVERHEAD_BYTES,
  kernelOverheadBytes,
  loadKernels,
  nativeVariants,
  wasmVariants,
} from "@flashlm/kernels";
import { expect, it } from "vitest";

const memoryBytes = KERNEL_OVERHEAD_BYTES + 65536;

const usable = (await nativeVariants()).filter(({ missing }) => missing === "");

/** Relaxed SIMD where the engine has it, by itself or behind a flag. */
const wasmName = `wasm-${wasmVariants()[0]}`;

it("auto takes the fastest target that works, and every one can be named", async () => {
  const fastest = usable[0] ? `native-${usable[0].name}` : wasmName;
  for (const [target, name] of [
    ["auto", fastest],
    ["wasm", wasmName],
    ["reference", "reference"],
  ] as const) {
    const messages: string[] = [];
    const onFallback = (message: string): number => messages.push(message);
    const set = await loadKernels({ target, memoryBytes, threadCount: 1, onFallback });
    expect(set.target).toBe(name);
    // What was passed over is said, and only then.
    expect(messages.length).toBe(target === "auto" && usable.length === 0 ? 1 : 0);
    expect(messages).toEqual(set.note === undefined ? [] : [`using ${name}; ${set.note}`]);
    await set.close();
  }
});

it("says of every target whether it can be used", async () => {
  const diagnoses = await diagnoseKernels();
  expect(diagnoses.map(({ target }) => target)).toEqual(["native", "wasm", "reference"]);
  expect(diagnoses.map((one) => one.usable)).toEqual([usable.length > 0, true, true]);
  for (const { note } of diagnoses) expect(note).not.toBe("");
});

it("refuses impossible options", async () => {
  await expect(createWasmKernels({ memoryBytes: 2 ** 36, threadCount: 1 })).rejects.toMatchObject({
    code: "KERNEL_MEMORY",
  });
  const odd = { memoryBytes, threadCount: 1, segmentBytes: 65537 };
  await expect(createWasmKernels(odd)).rejects.toMatchObject({ code: "KERNEL_NOT_SUPPORTED" });
  const small = { memoryBytes, threadCount: 1, segmentBytes: 65536 };
  await expect(createWasmKernels(small)).rejects.toMatchObject({ code: "KERNEL_MEMORY" });
  await expect(loadKernels({ target: "auto", memoryBytes: 2 ** 40, threadCount: 1 })).rejects.toMatchObject({
    code: "KERNEL_MEMORY",
  });
  await expect(createWasmKernels({ memoryBytes, threadCount: 0 })).rejects.toMatchObject({
    code: "KERNEL_NOT_SUPPORTED",
  });
});

it("refuses an instruction set that the processor lacks or nobody knows", async () => {
  for (const variant of [
    "mmx",
    ...(await nativeVariants()).filter((one) => one.missing).map((one) => one.name),
  ]) {
    await expect(createNativeKernels({ memoryBytes, threadCount: 1, variant })).rejects.toMatchObject({
      code: "KERNEL_LOAD",
    });
  }
});

it("holds thousands of programs and runs each", async () => {
  const set = await createWasmKernels({ memoryBytes, threadCount: 1 });
  const vector = set.memory.allocate(64);
  const tokenCount = set.memory.allocate(4);
  set.memory.words(tokenCount, 1)[0] = 1;
  const source = set.memory.allocate(64);
  set.memory.floats(source, 16).fill(1);
  const addOf = (scale: number) =>
    ({ op: "add", tokenCount, dim: 16, scale, source, target: vector }) as const;
  const programs = Array.from({ length: 3000 }, (_, i) => set.compile([addOf(i), addOf(0.5)]));
  programs.forEach((program) => void set.run(program));
  expect(set.memory.floats(vector, 1)[0]).toBe((2999 * 3000) / 2 + 1500);
  const tooMany = Array.from({ length: 97 }, () => addOf(1));
  expect(() => set.compile(tooMany)).toThrow(expect.objectContaining({ code: "KERNEL_NOT_SUPPORTED" }));
  await set.close();
  expect(() => set.compile([addOf(1)])).toThrow(expect.objectContaining({ code: "KERNEL_LOAD" }));
});

it("needs memory for its threads and its longest row, and refuses longer ones", async () => {
  const small = { threadCount: 2, columnCountMax: 1024 };
  expect(kernelOverheadBytes(small)).toBeLessThan(100_000);
  expect(kernelOverheadBytes({ threadCount: 2 })).toBeLessThan(900_000);
  const set = await createWasmKernels({ ...small, memoryBytes: kernelOverheadBytes(small) + 2 ** 20 });
  const tokenCount = set.memory.allocate(4);
  set.memory.words(tokenCount, 1)[0] = 3;
  const [base, source, target] = [
    set.memory.allocate(8 * 2048 * 4),
    set.memory.allocate(3 * 2048 * 4),
    set.memory.allocate(96),
  ];
  const product = (columnCount: number) =>
    set.compile([
      {
        op: "matmul",
        tokenCount,
        weight: { dtype: "bf16", rowCount: 8, columnCount, base },
        source,
        target,
        accumulate: false,
      },
    ]);
  set.memory.bytes(base, 8 * 1024 * 2).fill(0x3f);
  set.memory.floats(source, 3 * 1024).fill(2);
  set.run(product(1024));
  // bf16 0x3f3f is 0.74609375.
  expect([...set.memory.floats(target, 24)]).toEqual(Array.from({ length: 24 }, () => 0.74609375 * 2048));
  expect(() => product(1025)).toThrow(expect.objectContaining({ code: "KERNEL_SHAPE" }));
  await set.close();
});

it("two threads run many programs with pauses between and close promptly", async () => {
  const set = await createWasmKernels({ memoryBytes, threadCount: 2 });
  const vector = set.memory.allocate(64);
  const tokenCount = set.memory.allocate(4);
  set.memory.words(tokenCount, 1)[0] = 1;
  set.memory.floats(vector, 16).fill(1);
  const program = set.compile([
    {
      op: "norm",
      kind: "rms",
      tokenCount,
      rowsPerToken: 1,
      dim: 16,
      epsilon: 0,
      source: vector,
      target: vector,
      weight: vector,
    },
  ]);
  for (let i = 0; i < 300; i++) {
    set.run(program);
    if (i % 50 === 0) await new Promise((resolve) => setTimeout(resolve, 2));
  }
  expect([...set.memory.floats(vector, 16)]).toEqual(Array.from({ length: 16 }, () => 1));
  await set.close();
});

it.skipIf(usable.length === 0 || process.platform !== "linux")(
  "a closed native set has given its memory back",
  async () => {
    const setBytes = 256 * 2 ** 20;
    const set = await createNativeKernels({ memoryBytes: setBytes + KERNEL_OVERHEAD_BYTES, threadCount: 2 });
    const before = process.memoryUsage.rss();
    const bytes = set.memory.bytes(set.memory.allocate(setBytes), setBytes).fill(1);
    expect(process.memoryUsage.rss() - before).toBeGreaterThan(0.9 * setBytes);
    await set.close();
    expect(process.memoryUsage.rss() - before).toBeLessThan(0.1 * setBytes);
    // The view is still there, so that it was not the collector that freed it.
    expect(bytes.length).toBe(setBytes);
  },
);

import {
  createNativeKernels,
  createWasmKernels,
  diagnoseKernels,
  KERNEL_OVERHEAD_BYTES,
  loadKernels,
  nativeVariants,
} from "@flashlm/kernels";
import { expect, it } from "vitest";

const memoryBytes = KERNEL_OVERHEAD_BYTES + 65536;

const usable = (await nativeVariants()).filter(({ missing }) => missing === "");

it("auto takes the fastest target that works, and every one can be named", async () => {
  const fastest = usable[0] ? `native-${usable[0].name}` : "wasm-simd128";
  for (const [target, name] of [
    ["auto", fastest],
    ["wasm", "wasm-simd128"],
    ["reference", "reference"],
  ] as const) {
    const messages: string[] = [];
    const onFallback = (message: string): number => messages.push(message);
    const set = await loadKernels({ target, memoryBytes, threadCount: 1, onFallback });
    expect(set.target).toBe(name);
    // What was passed over is said, and only then.
    expect(messages.length).toBe(target === "auto" && usable.length === 0 ? 1 : 0);
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
  await expect(createWasmKernels({ memoryBytes: 2 ** 32, threadCount: 1 })).rejects.toMatchObject({
    code: "KERNEL_MEMORY",
  });
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

it("holds 2000 programs of 12 ops, then says that it is full", async () => {
  const set = await createWasmKernels({ memoryBytes, threadCount: 1 });
  const vector = set.memory.allocate(1024);
  const tokenCount = set.memory.allocate(4);
  const norm = {
    op: "norm",
    kind: "rms",
    tokenCount,
    rowsPerToken: 1,
    dim: 16,
    epsilon: 0,
    source: vector,
    target: vector,
    weight: vector,
  } as const;
  const ops = Array.from({ length: 12 }, () => norm);
  for (let i = 0; i < 2000; i++) set.compile(ops);
  expect(() => {
    for (let i = 0; i < 4000; i++) set.compile(ops);
  }).toThrow(expect.objectContaining({ code: "KERNEL_MEMORY" }));
  await set.close();
  expect(() => set.compile(ops)).toThrow(expect.objectContaining({ code: "KERNEL_LOAD" }));
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

import { kernelConformance } from "@flashlm/contracts/testing";
import {
  createNativeKernels,
  createReferenceKernels,
  createWasmKernels,
  nativeVariants,
} from "@flashlm/kernels";

kernelConformance({ name: "reference", create: createReferenceKernels });
kernelConformance({ name: "wasm, one thread", create: createWasmKernels });
kernelConformance({ name: "wasm, two threads", create: createWasmKernels, threadCount: 2 });
for (const placement of ["sized", "scattered"] as const) {
  for (const threadCount of [1, 2]) {
    kernelConformance({
      name: `wasm over memories of 8 MiB, ${placement}, ${threadCount} threads`,
      create: (options) => createWasmKernels({ ...options, segmentBytes: 2 ** 23, placement }),
      memoryBytes: 96 * 2 ** 20,
      threadCount,
    });
  }
}
for (const { name, missing } of await nativeVariants()) {
  if (missing !== "") continue;
  for (const threadCount of [1, 3]) {
    kernelConformance({
      name: `native ${name}, ${threadCount} threads`,
      create: (options) => createNativeKernels({ ...options, variant: name }),
      threadCount,
    });
  }
}

import { kernelConformance } from "@flashlm/contracts/testing";
import {
  createNativeKernels,
  createReferenceKernels,
  createWasmKernels,
  nativeVariants,
  wasmVariants,
} from "@flashlm/kernels";

kernelConformance({ name: "reference", create: createReferenceKernels });
for (const variant of wasmVariants()) {
  for (const threadCount of [1, 2]) {
    kernelConformance({
      name: `wasm ${variant}, ${threadCount} threads`,
      create: (options) => createWasmKernels({ ...options, variant }),
      threadCount,
    });
  }
}
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
  for (const threadCount of [1, 2, 3]) {
    kernelConformance({
      name: `native ${name}, ${threadCount} threads`,
      create: (options) => createNativeKernels({ ...options, variant: name }),
      threadCount,
      starts: threadCount > 1,
      copies: true,
    });
  }
}

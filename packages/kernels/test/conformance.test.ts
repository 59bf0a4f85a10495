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

import { kernelConformance } from "@flashlm/contracts/testing";
import { createReferenceKernels, createWasmKernels } from "@flashlm/kernels";

kernelConformance({ name: "reference", create: createReferenceKernels });
kernelConformance({ name: "wasm, one thread", create: createWasmKernels });
kernelConformance({ name: "wasm, two threads", create: createWasmKernels, threadCount: 2 });

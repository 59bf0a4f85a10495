export { KERNEL_OVERHEAD_BYTES } from "./limits.js";
export type { KernelTarget, LoadKernelsOptions } from "./load.js";
export { loadKernels } from "./load.js";
export { createReferenceKernels } from "./reference/kernels.js";
export { createWasmKernels } from "./wasm/kernels.js";

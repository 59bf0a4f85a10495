export { KERNEL_OVERHEAD_BYTES } from "./limits.js";
export type { KernelDiagnosis, KernelTarget, LoadKernelsOptions } from "./load.js";
export { diagnoseKernels, loadKernels } from "./load.js";
export type { NativeVariant } from "./native/addon.js";
export type { NativeKernelsOptions } from "./native/kernels.js";
export { createNativeKernels, NativeKernels } from "./native/kernels.js";
export { nativeVariants } from "./native/variants.js";
export { createReferenceKernels } from "./reference/kernels.js";
export { createWasmKernels } from "./wasm/kernels.js";

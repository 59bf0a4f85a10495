import { loadNativeAddon, type NativeVariant, variantsOf } from "./addon.js";

/** Instruction sets that the native kernels were compiled for, fastest first; empty where there are none. */
export async function nativeVariants(): Promise<NativeVariant[]> {
  const { addon } = await loadNativeAddon();
  return addon === undefined ? [] : variantsOf(addon);
}

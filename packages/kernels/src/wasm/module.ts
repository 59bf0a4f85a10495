/// <reference path="./web-assembly.d.ts" />
import { readFile } from "node:fs/promises";
import { setFlagsFromString } from "node:v8";
import { FlashlmError } from "@flashlm/contracts";

/** A build of the WASM kernels, named after the instructions that it needs. */
export type WasmVariant = "relaxed-simd" | "simd128";

const FILES: Readonly<Record<WasmVariant, string>> = {
  "relaxed-simd": "./kernels-relaxed.wasm",
  simd128: "./kernels.wasm",
};

/** A function that multiplies and adds zeros in relaxed SIMD: an engine finds it valid where it has those instructions. */
const RELAXED_PROBE: Uint8Array = Uint8Array.of(
  ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
  // Type: nothing to v128; one function of it.
  ...[1, 5, 1, 0x60, 0, 1, 0x7b, 3, 2, 1, 0],
  // Code: three times i32.const 0 and f32x4 or i32x4.splat, f32x4.relaxed_madd.
  ...[10, 19, 1, 17, 0, 0x41, 0, 0xfd, 17, 0x41, 0, 0xfd, 17, 0x41, 0, 0xfd, 17, 0xfd, 0x85, 2, 0x0b],
);

/** V8 before 11.4, the one of Node 20, has relaxed SIMD behind this. */
const RELAXED_FLAG = "--experimental-wasm-relaxed-simd";

function hasRelaxed(): boolean {
  if (WebAssembly.validate(RELAXED_PROBE)) return true;
  if (Number(process.versions.node.split(".")[0]) !== 20) return false;
  setFlagsFromString(RELAXED_FLAG);
  return WebAssembly.validate(RELAXED_PROBE);
}

/** Builds that this engine runs, the fastest first. Switches relaxed SIMD on where it waits behind a flag. */
export function wasmVariants(): readonly WasmVariant[] {
  return hasRelaxed() ? ["relaxed-simd", "simd128"] : ["simd128"];
}

/** A compiled build; workers instantiate it as it is. */
export interface WasmKernelModule {
  readonly variant: WasmVariant;
  readonly module: WebAssembly.Module;
}

/** Compiles the build that is asked for, or the fastest. @throws KERNEL_LOAD. */
export async function loadModule(wanted?: WasmVariant): Promise<WasmKernelModule> {
  const usable = wasmVariants();
  const variant = wanted ?? usable[0]!;
  if (!usable.includes(variant)) {
    throw new FlashlmError(
      "KERNEL_LOAD",
      `expected a WASM variant that this engine runs (${usable.join(", ")}), got "${variant}"`,
      { variant },
    );
  }
  try {
    const bytes = await readFile(new URL(FILES[variant], import.meta.url));
    return { variant, module: await WebAssembly.compile(bytes) };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new FlashlmError(
      "KERNEL_LOAD",
      `could not load ${FILES[variant]} beside the package's code: ${reason}`,
      { variant },
      error,
    );
  }
}

import type { KernelSet, KernelSetOptions } from "@flashlm/contracts";
import { FlashlmError } from "@flashlm/contracts";
import { createReferenceKernels } from "./reference/kernels.js";
import { selfTest } from "./self-test.js";
import { createWasmKernels } from "./wasm/kernels.js";

/** Targets by the name a user gives. "auto" is the fastest that works here. */
export type KernelTarget = "auto" | "wasm" | "reference";

/** `KernelSetOptions` and the target. */
export interface LoadKernelsOptions extends KernelSetOptions {
  readonly target: KernelTarget;
}

async function loadWasm(options: KernelSetOptions): Promise<KernelSet> {
  const difference = await selfTest((memoryBytes) => createWasmKernels({ memoryBytes, threadCount: 1 }));
  if (difference === "") return createWasmKernels(options);
  throw new FlashlmError(
    "KERNEL_LOAD",
    `the WASM kernels computed wrong numbers on this machine (${difference})`,
  );
}

const LOADERS: Readonly<Record<string, (options: KernelSetOptions) => Promise<KernelSet>>> = {
  wasm: loadWasm,
  reference: createReferenceKernels,
};

/**
 * Makes a kernel set. "auto" takes WASM and, where that does not load, the reference. WASM is run against the
 * reference before it is trusted. The caller owns the set and closes it.
 * @throws KERNEL_LOAD with the reason why each alternative failed; KERNEL_MEMORY and KERNEL_NOT_SUPPORTED for bad options.
 */
export async function loadKernels(options: LoadKernelsOptions): Promise<KernelSet> {
  const { target, memoryBytes, threadCount } = options;
  const names = target === "auto" ? ["wasm", "reference"] : [target];
  const reasons: string[] = [];
  for (const name of names) {
    const loader = LOADERS[name];
    if (loader === undefined) {
      throw new FlashlmError(
        "KERNEL_NOT_SUPPORTED",
        `expected target "auto", "wasm" or "reference", got "${name}"`,
      );
    }
    try {
      return await loader({ memoryBytes, threadCount });
    } catch (error) {
      // Bad options fail everywhere; a slower target would only hide them.
      if (!FlashlmError.isInstance(error) || error.code !== "KERNEL_LOAD") throw error;
      reasons.push(`${name}: ${error.message}`);
    }
  }
  throw new FlashlmError("KERNEL_LOAD", `no kernel target works here: ${reasons.join("; ")}`, { reasons });
}

import type { KernelSet, KernelSetOptions } from "@flashlm/contracts";
import { FlashlmError } from "@flashlm/contracts";
import { loadNativeAddon, variantsOf } from "./native/addon.js";
import { createNativeKernels } from "./native/kernels.js";
import { createReferenceKernels } from "./reference/kernels.js";
import { selfTest } from "./self-test.js";
import { createWasmKernels } from "./wasm/kernels.js";
import { wasmVariants } from "./wasm/module.js";

/** Targets by the name a user gives. "auto" is the fastest that works here. */
export type KernelTarget = "auto" | "native" | "wasm" | "reference";

/** `KernelSetOptions` and the target. */
export interface LoadKernelsOptions extends KernelSetOptions {
  readonly target: KernelTarget;
  /** Told why "auto" passed over a faster target; written to stderr unless given. */
  readonly onFallback?: (message: string) => void;
}

/** What `loadKernels` would say of one target on this machine. */
export interface KernelDiagnosis {
  readonly target: Exclude<KernelTarget, "auto">;
  readonly usable: boolean;
  /** Why it cannot be used; what it would use, such as the instruction set, where it can. */
  readonly note: string;
}

type TargetName = Exclude<KernelTarget, "auto">;
type Create = (options: KernelSetOptions) => Promise<KernelSet>;

const FASTEST_FIRST: readonly TargetName[] = ["native", "wasm", "reference"];
const CREATORS: Readonly<Record<TargetName, Create>> = {
  native: (options) => createNativeKernels(withVariant(options)),
  wasm: createWasmKernels,
  reference: createReferenceKernels,
};

/** `FLASHLM_KERNEL_VARIANT` names an instruction set, so that runs can be compared. */
function withVariant(options: KernelSetOptions): KernelSetOptions & { readonly variant?: string } {
  const variant = process.env.FLASHLM_KERNEL_VARIANT;
  return variant ? { ...options, variant } : options;
}

/** @throws KERNEL_LOAD when the target computes something else than the reference. */
async function checkNumbers(name: TargetName): Promise<void> {
  if (name === "reference") return;
  const create = CREATORS[name];
  const difference = await selfTest((memoryBytes) => create({ memoryBytes, threadCount: 1 }));
  if (difference === "") return;
  const message = `the ${name} kernels computed wrong numbers on this machine (${difference})`;
  throw new FlashlmError("KERNEL_LOAD", message);
}

async function loadOne(name: TargetName, options: KernelSetOptions): Promise<KernelSet> {
  await checkNumbers(name);
  return CREATORS[name](options);
}

function isLoadError(error: unknown): error is FlashlmError {
  return FlashlmError.isInstance(error) && error.code === "KERNEL_LOAD";
}

function toStderr(message: string): void {
  process.stderr.write(`kernels: ${message}\n`);
}

/**
 * Makes a kernel set. "auto" takes the native kernels, where those do not load WASM, and where that does not load
 * the reference; what was passed over is said aloud. A target is run against the reference before it is trusted. The caller owns the set and closes it.
 * @throws KERNEL_LOAD with the reason why each alternative failed; KERNEL_MEMORY and KERNEL_NOT_SUPPORTED for bad options.
 */
export async function loadKernels(options: LoadKernelsOptions): Promise<KernelSet> {
  const { target, onFallback = toStderr, ...setOptions } = options;
  const names = target === "auto" ? FASTEST_FIRST : [target];
  const reasons: string[] = [];
  for (const name of names) {
    if (CREATORS[name] === undefined) {
      throw new FlashlmError(
        "KERNEL_NOT_SUPPORTED",
        `expected target "auto", ${FASTEST_FIRST.map((one) => `"${one}"`).join(", ")}, got "${name}"`,
      );
    }
    try {
      const set = await loadOne(name, setOptions);
      if (reasons.length === 0) return set;
      const note = reasons.join("; ");
      onFallback(`using ${set.target}; ${note}`);
      return Object.assign(set, { note });
    } catch (error) {
      // Bad options fail everywhere; a slower target would only hide them.
      if (!isLoadError(error)) throw error;
      reasons.push(`${name}: ${error.message}`);
    }
  }
  throw new FlashlmError("KERNEL_LOAD", `no kernel target works here: ${reasons.join("; ")}`, { reasons });
}

async function noteOf(name: TargetName): Promise<string> {
  if (name === "reference") return "plain TypeScript, slow";
  if (name === "wasm") return `wasm-${wasmVariants()[0]}`;
  const { addon } = await loadNativeAddon();
  const variants = addon === undefined ? [] : variantsOf(addon);
  const chosen = variants.find(({ missing }) => missing === "")?.name;
  const lacking = variants.filter(({ missing }) => missing !== "");
  return [chosen, ...lacking.map((one) => `not ${one.name}: the processor lacks ${one.missing}`)].join("; ");
}

/** Says of every target, fastest first, whether it can be used here and why not. Builds the native kernels where that was not done. */
export async function diagnoseKernels(): Promise<KernelDiagnosis[]> {
  const diagnoses: KernelDiagnosis[] = [];
  for (const target of FASTEST_FIRST) {
    try {
      await checkNumbers(target);
      diagnoses.push({ target, usable: true, note: await noteOf(target) });
    } catch (error) {
      diagnoses.push({ target, usable: false, note: error instanceof Error ? error.message : String(error) });
    }
  }
  return diagnoses;
}

import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

/** A kernel set inside the addon. */
export type NativeHandle = object;

/** Functions of the addon (native/addon.cc). */
export interface NativeAddon {
  readonly abiVersion: number;
  /** Names, each followed by what the machine lacks for it, or ""; fastest first. */
  variants(): readonly string[];
  /** `first` and `last` are views at the two ends of the arena. */
  create(
    first: Uint8Array,
    last: Uint8Array,
    threadCount: number,
    variant: string,
    largePages: boolean,
  ): NativeHandle;
  compile(handle: NativeHandle, words: Float64Array): number;
  /** A fault of native/codes.h; 0 is none. */
  run(handle: NativeHandle, program: number): number;
  /** Begins a program on the other threads; `finish` comes before anything else. */
  start(handle: NativeHandle, program: number): void;
  /** A fault of the program that was started. */
  finish(handle: NativeHandle): number;
  close(handle: NativeHandle): void;
  /** Within the arena, also while a program that was started goes on. */
  copy(handle: NativeHandle, toBytes: number, fromBytes: number, lengthBytes: number): void;
  readRange(handle: NativeHandle, offsetBytes: number, lengthBytes: number): void;
  multiplyAdd(handle: NativeHandle, count: number): number;
}

/** The addon, or why there is none. */
export type LoadedAddon =
  | { readonly addon: NativeAddon; readonly reason: "" }
  | { readonly addon: undefined; readonly reason: string };

/** Version of native/codes.h that this host speaks. */
const ABI_VERSION = 3;

/** The builder that every package with native sources brings along (dist/addon.js). */
interface AddonBuilder {
  ensureAddon(
    packageFolder: string,
    options: { readonly onBuild: () => void },
  ): Promise<{ readonly path: string | undefined; readonly reason: string }>;
}

/**
 * Finds the addon, building it the first time where a C++ compiler is there; that is said on stderr. Never rejects.
 * `FLASHLM_NATIVE=off` in the environment leaves it out.
 */
export async function loadNativeAddon(): Promise<LoadedAddon> {
  try {
    const builder: AddonBuilder = await import(new URL("./addon.js", import.meta.url).href);
    const { path, reason } = await builder.ensureAddon(fileURLToPath(new URL("..", import.meta.url)), {
      onBuild: () =>
        process.stderr.write("kernels: building the native kernels, once; this takes up to a minute ...\n"),
    });
    if (path === undefined) return { addon: undefined, reason };
    const addon = createRequire(import.meta.url)(path) as NativeAddon;
    if (addon.abiVersion === ABI_VERSION) return { addon, reason: "" };
    const versions = `expected version ${ABI_VERSION} of its interface, got ${addon.abiVersion}`;
    return { addon: undefined, reason: `${path} belongs to another release: ${versions}` };
  } catch (error) {
    return { addon: undefined, reason: `the addon does not load: ${(error as Error).message}` };
  }
}

/** What a variant needs that the machine lacks; "" where it can run. */
export interface NativeVariant {
  readonly name: string;
  readonly missing: string;
}

/** Variants of the addon, fastest first. */
export function variantsOf(addon: NativeAddon): NativeVariant[] {
  const flat = addon.variants();
  return Array.from({ length: flat.length / 2 }, (_, i) => ({
    name: flat[2 * i]!,
    missing: flat[2 * i + 1]!,
  }));
}

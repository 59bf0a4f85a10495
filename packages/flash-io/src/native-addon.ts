import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

/** A reader inside the addon. */
export type NativeHandle = object;

/** A file as the addon opened it; `alignmentBytes` is 1 when the page cache is used. */
export interface NativeFile {
  readonly sizeBytes: number;
  readonly alignmentBytes: number;
  readonly note: string;
}

/** What `open` answers: a reader, the system's refusal of the backend, or a file that could not be opened. */
export type NativeOpening =
  | { readonly handle: NativeHandle; readonly files: readonly NativeFile[] }
  | { readonly refusal: string }
  | { readonly faultIndex: number; readonly message: string; readonly errno: number };

/** Functions of the addon (native/addon.cc). */
export interface NativeAddon {
  /** "vpclmulqdq", "sse4.2", "armv8-crc" or "table". */
  readonly crc32cMethod: string;
  crc32c(bytes: Uint8Array, crc: number): number;
  /** `directIo`: 0 preferred, 1 required, 2 off. `onProgress` is called while watched, when reads may have ended. */
  open(
    paths: readonly string[],
    directIo: number,
    backend: string,
    inFlightMax: number,
    awakeUs: number,
    onProgress: () => void,
  ): NativeOpening;
  /** Fresh memory is the reader's own and has not been touched: it may get large pages. */
  attach(handle: NativeHandle, arenaId: number, bytes: Uint8Array, isFresh: boolean): void;
  /** Starts all reads or none; the index of the first that is refused, or -1. */
  submit(
    handle: NativeHandle,
    batchId: number,
    isDemand: boolean,
    count: number,
    fileIndex: Uint32Array,
    offsetBytes: Float64Array,
    lengthBytes: Float64Array,
    targetArenaId: Uint32Array,
    targetOffsetBytes: Float64Array,
  ): number;
  /**
   * Writes pairs of batch id and read index, the index's top bit set for a read that did not land; returns how many.
   * Blocks until `waitFor` reads have ended, or less.
   */
  collect(handle: NativeHandle, pairs: Uint32Array, waitFor: number): number;
  /** Outcome, errno, bytes that came, file index, offset and length of the oldest failure not yet taken. */
  takeFailure(handle: NativeHandle, fields: Float64Array): boolean;
  cancel(handle: NativeHandle, batchId: number): void;
  watch(handle: NativeHandle, on: boolean): void;
  /** Writes requests made and bytes asked of the device. */
  stats(handle: NativeHandle, counters: Float64Array): void;
  close(handle: NativeHandle): void;
}

/** The builder that every package with native sources brings along (dist/addon.js). */
interface AddonBuilder {
  ensureAddon(
    packageFolder: string,
    options: { readonly onBuild: () => void },
  ): Promise<{ readonly path: string | undefined; readonly reason: string }>;
}

/** The addon, or why there is none. */
export type LoadedAddon =
  | { readonly addon: NativeAddon; readonly reason: "" }
  | { readonly addon: undefined; readonly reason: string };

/**
 * Finds the addon, building it the first time where a C++ compiler is there; that takes seconds and is said on stderr.
 * Never rejects. `FLASHLM_NATIVE=off` in the environment leaves it out.
 */
export async function loadNativeAddon(): Promise<LoadedAddon> {
  try {
    const builder: AddonBuilder = await import(new URL("./addon.js", import.meta.url).href);
    const { path, reason } = await builder.ensureAddon(fileURLToPath(new URL("..", import.meta.url)), {
      onBuild: () =>
        process.stderr.write("flash-io: building the native reader, once; this takes some seconds ...\n"),
    });
    if (path === undefined) return { addon: undefined, reason };
    return { addon: createRequire(import.meta.url)(path) as NativeAddon, reason: "" };
  } catch (error) {
    return { addon: undefined, reason: `the addon does not load: ${(error as Error).message}` };
  }
}

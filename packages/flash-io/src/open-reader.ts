import { FlashlmError, type FlashReader } from "@flashlm/contracts";
import { createMemoryReader } from "./memory-reader.js";
import { type LoadedAddon, loadNativeAddon } from "./native-addon.js";
import { type NativeBackend, type NativeReaderSettings, openNativeReader } from "./native-reader.js";
import { openNodeReader } from "./node-reader.js";
import type { DirectIoMode } from "./shared-rings.js";

/**
 * Ways of reading: "io_uring" (Linux) and "pread" (a pool of threads) are native, "node" is the portable reader, "memory"
 * loads whole files. "auto" takes the first of the first three that works, and says in `capabilities.note` why not an earlier one.
 */
export const READER_BACKENDS = ["auto", "io_uring", "pread", "node", "memory"] as const;
/** One of {@link READER_BACKENDS}. */
export type ReaderBackend = (typeof READER_BACKENDS)[number];

/** Options of {@link openFlashReader}. */
export interface FlashReaderOptions {
  /** Default "auto". */
  readonly backend?: ReaderBackend;
  /**
   * "preferred" (default) bypasses the page cache where the file system allows it and says in
   * `capabilities.note` where not; "required" fails instead; "off" reads through the cache.
   */
  readonly directIo?: DirectIoMode;
  /**
   * Reads in flight at once, 1 to 256; default 256 with io_uring and 32 elsewhere: a request that waits in the kernel
   * costs nothing there, but a thread with "pread" and with "node" (bench/compare-fio.mjs).
   */
  readonly inFlightMax?: number;
  /**
   * Microseconds for which `waitAll` looks for what was read before it lets the thread sleep, at most 10,000; default 0. Worth a little of a core where every wait
   * is on the way to a token ({@link ENGINE_AWAKE_US}). Heeded by io_uring.
   */
  readonly awakeUs?: number;
}

/**
 * What engines open their readers with. Falling asleep and being woken take a virtual machine as long as a read; looking ten times longer gains nothing more
 * (decision 0026).
 */
export const ENGINE_AWAKE_US = 300;

const IN_FLIGHT_DEFAULT = 32;
const RING_IN_FLIGHT_DEFAULT = 256;
const IN_FLIGHT_LIMIT = 256;
const AWAKE_LIMIT_US = 10_000;

/**
 * Opens files for reading in the fastest way that works here. The first time, with a C++ compiler on the machine and no
 * ready-made addon, it builds the native reader, which takes seconds and is said on stderr; without one it reads portably.
 * @throws FLASH_OPEN when a file cannot be opened; FLASH_BACKEND when the backend that was asked for does not work here, with
 * a reason for each in `details.reasons`; FLASH_OUT_OF_RANGE for a bad `inFlightMax` or `awakeUs`.
 */
export async function openFlashReader(
  paths: readonly string[],
  options: FlashReaderOptions = {},
): Promise<FlashReader> {
  const { backend = "auto", directIo = "preferred", awakeUs = 0 } = options;
  const inFlightMax = options.inFlightMax ?? IN_FLIGHT_DEFAULT;
  if (!Number.isInteger(inFlightMax) || inFlightMax < 1 || inFlightMax > IN_FLIGHT_LIMIT) {
    throw new FlashlmError(
      "FLASH_OUT_OF_RANGE",
      `inFlightMax must be a whole number from 1 to ${IN_FLIGHT_LIMIT}, but is ${inFlightMax}`,
      { inFlightMax },
    );
  }
  if (!Number.isInteger(awakeUs) || awakeUs < 0 || awakeUs > AWAKE_LIMIT_US) {
    throw new FlashlmError(
      "FLASH_OUT_OF_RANGE",
      `awakeUs must be a whole number from 0 to ${AWAKE_LIMIT_US}, but is ${awakeUs}`,
      { awakeUs },
    );
  }
  if (backend === "memory") return createMemoryReader(paths);
  if (backend === "node") return openNodeReader(paths, { directIo, inFlightMax });
  const loaded = await loadNativeAddon();
  const settings = { paths, directIo, inFlightMax, awakeUs };
  const ringMax = options.inFlightMax ?? RING_IN_FLIGHT_DEFAULT;
  if (backend !== "auto") {
    const inFlight = backend === "io_uring" ? ringMax : inFlightMax;
    const opened = tryNative(loaded, backend, { ...settings, inFlightMax: inFlight, note: "" });
    if (typeof opened !== "string") return opened;
    throw refusedError(backend, opened, loaded);
  }
  if (loaded.addon === undefined) {
    return openNodeReader(paths, { directIo, inFlightMax }, `no native reader: ${loaded.reason}`);
  }
  const ring = tryNative(loaded, "io_uring", { ...settings, inFlightMax: ringMax, note: "" });
  if (typeof ring !== "string") return ring;
  const pool = tryNative(loaded, "pread", { ...settings, note: `io_uring not used: ${ring}` });
  if (typeof pool !== "string") return pool;
  const note = `io_uring not used: ${ring}; pread not used: ${pool}`;
  return openNodeReader(paths, { directIo, inFlightMax }, note);
}

/** A native reader, or why there is none. */
function tryNative(
  loaded: LoadedAddon,
  backend: NativeBackend,
  settings: Omit<NativeReaderSettings, "addon" | "backend">,
): FlashReader | string {
  if (loaded.addon === undefined) return loaded.reason;
  return openNativeReader({ ...settings, addon: loaded.addon, backend });
}

/** The error for a backend that was asked for, with what each alternative says. */
function refusedError(wanted: NativeBackend, reason: string, loaded: LoadedAddon): FlashlmError {
  const reasons = [`${wanted}: ${reason}`];
  for (const other of ["io_uring", "pread"] as const) {
    if (other === wanted) continue;
    const settings = { paths: [], directIo: "off", inFlightMax: 1, awakeUs: 0, note: "" } as const;
    const opened = tryNative(loaded, other, settings);
    reasons.push(`${other}: ${typeof opened === "string" ? opened : "works, but was not asked for"}`);
    if (typeof opened !== "string") void opened.close();
  }
  reasons.push("node: works, but was not asked for", "memory: works, but was not asked for");
  return new FlashlmError(
    "FLASH_BACKEND",
    `the reader "${wanted}" was asked for and does not work here; ask for "auto", or for one that works (${reasons.join("; ")})`,
    { backend: wanted, reasons },
  );
}

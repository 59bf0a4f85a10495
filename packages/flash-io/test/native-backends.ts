import { type FlashReaderOptions, openFlashReader } from "@flashlm/flash-io";

/** Whether a backend works here: without a compiler and without a ready-made addon the native ones do not. */
export async function works(options: FlashReaderOptions): Promise<boolean> {
  try {
    await (await openFlashReader([], options)).close();
    return true;
  } catch {
    return false;
  }
}

/** Backends of this machine that issue reads, best first; never empty. */
export async function workingBackends(): Promise<("io_uring" | "pread" | "node")[]> {
  const found: ("io_uring" | "pread" | "node")[] = [];
  for (const backend of ["io_uring", "pread", "node"] as const) {
    if (await works({ backend })) found.push(backend);
  }
  return found;
}

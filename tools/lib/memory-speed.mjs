import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { ROOT } from "./workspace.mjs";

/**
 * Bytes per second of a plain loop that reads so much memory again and again on all threads, with the native kernels; median of nine times. A large shared cache holds a
 * part of a gigabyte (docs/decisions/0028-memory-floor.md).
 */
export async function memoryReadSpeed(threadCount, lengthBytes = 2 ** 30) {
  const load = (path) => import(pathToFileURL(join(ROOT, "packages/kernels", path)).href);
  const [kernels, { readCase }, { measureInterleaved }] = await Promise.all(
    ["dist/index.js", "bench/cases.mjs", "bench/measure.mjs"].map(load),
  );
  const read = readCase(lengthBytes);
  const memoryBytes = read.setBytes + kernels.KERNEL_OVERHEAD_BYTES + 65536;
  const set = await kernels.createNativeKernels({ memoryBytes, threadCount });
  try {
    const [result] = await measureInterleaved([{ case: read, run: read.prepare(set) }]);
    return result.gigabytesPerSecond * 1e9;
  } finally {
    await set.close();
  }
}

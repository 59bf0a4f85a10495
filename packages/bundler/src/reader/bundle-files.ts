import { type FileHandle, open, stat } from "node:fs/promises";
import { join } from "node:path";
import { FlashlmError } from "@flashlm/contracts";
import type { BundleFileEntry } from "../format/bundle-json.js";

/** A file of a bundle is missing, shorter or longer than `bundle.json` says. @throws BUNDLE_TRUNCATED, BUNDLE_FORMAT, FLASH_IO. */
export async function checkFileSize(bundlePath: string, entry: BundleFileEntry): Promise<void> {
  const path = join(bundlePath, entry.name);
  const expectedBytes = entry.sizeBytes;
  const status = await stat(path).catch((cause) => {
    throw openError(path, cause);
  });
  if (!status.isFile())
    throw new FlashlmError("BUNDLE_FORMAT", `${path} is not a regular file: make the bundle again`, { path });
  if (status.size === expectedBytes) return;
  const code = status.size < expectedBytes ? "BUNDLE_TRUNCATED" : "BUNDLE_FORMAT";
  const message = `${path} has ${status.size} bytes, expected ${expectedBytes}: copy or make the bundle again`;
  throw new FlashlmError(code, message, { path, expectedBytes, foundBytes: status.size });
}

/** Opens a file of a bundle for reading. @throws BUNDLE_TRUNCATED where it is missing, FLASH_IO. */
export async function openBundleFile(path: string): Promise<FileHandle> {
  return open(path, "r").catch((cause) => {
    throw openError(path, cause);
  });
}

function openError(path: string, cause: unknown): FlashlmError {
  const code = (cause as NodeJS.ErrnoException).code ?? "unknown";
  if (code === "ENOENT" || code === "ENOTDIR") {
    return new FlashlmError(
      "BUNDLE_TRUNCATED",
      `${path} is missing: copy or make the bundle again`,
      { path },
      cause,
    );
  }
  return new FlashlmError(
    "FLASH_IO",
    `cannot open ${path} (${code}): check its permissions and the device`,
    { path },
    cause,
  );
}

/** Fills `target` from `positionBytes` on. @throws BUNDLE_TRUNCATED where the file ends before, FLASH_IO. */
export async function readExactly(
  file: FileHandle,
  path: string,
  target: Uint8Array,
  positionBytes: number,
): Promise<void> {
  let done = 0;
  while (done < target.length) {
    const { bytesRead } = await file
      .read(target, done, target.length - done, positionBytes + done)
      .catch((cause) => {
        throw new FlashlmError(
          "FLASH_IO",
          `cannot read ${path} at ${positionBytes + done}: check the device`,
          { path },
          cause,
        );
      });
    if (bytesRead === 0) {
      const message = `${path} ends at ${positionBytes + done} bytes, expected ${positionBytes + target.length}: copy or make the bundle again`;
      throw new FlashlmError("BUNDLE_TRUNCATED", message, { path, foundBytes: positionBytes + done });
    }
    done += bytesRead;
  }
}

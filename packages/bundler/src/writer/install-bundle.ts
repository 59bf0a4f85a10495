import { existsSync } from "node:fs";
import { open, readdir, readFile, rename, rm, statfs, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { FlashlmError } from "@flashlm/contracts";
import { OWN_NAMES } from "./own-names.js";

/** Turns a failed write into BUNDLE_WRITE; errors of ours pass unchanged. */
export function writeError(cause: unknown, path: string, neededBytes: number): unknown {
  if (FlashlmError.isInstance(cause) || (cause as Error)?.name === "AbortError") return cause;
  const code = (cause as NodeJS.ErrnoException)?.code;
  if (code === undefined) return cause;
  const full = code === "ENOSPC" || code === "EDQUOT";
  const advice = full
    ? `the disk is full: the bundle needs ${neededBytes} bytes; free some and run again, it resumes`
    : "check the folder and run again";
  return new FlashlmError(
    "BUNDLE_WRITE",
    `writing ${path} failed (${(cause as Error).message}): ${advice}`,
    { path, neededBytes, systemCode: code },
    cause,
  );
}

/** @throws BUNDLE_WRITE when the file system of `path` has less than `neededBytes` free; says how much is missing. */
export async function requireFreeSpace(
  path: string,
  neededBytes: number,
  measure: typeof statfs = statfs,
): Promise<void> {
  let freeBytes: number;
  try {
    const stats = await measure(path);
    freeBytes = stats.bavail * stats.bsize;
  } catch {
    return; // A file system that cannot say is found out by writing.
  }
  if (freeBytes >= neededBytes) return;
  const missingBytes = neededBytes - freeBytes;
  const message = `${path} has ${freeBytes} bytes free, but ${neededBytes} are needed: free ${missingBytes} more bytes or choose another folder`;
  throw new FlashlmError("BUNDLE_WRITE", message, { path, neededBytes, freeBytes, missingBytes });
}

/** Flushes a folder's entries where the platform allows it. */
export async function syncFolder(path: string): Promise<void> {
  try {
    const folder = await open(path, "r");
    await folder.sync().finally(() => folder.close());
  } catch {
    // Windows does not open folders; its file systems journal entries themselves.
  }
}

/** Writes a file whole and durably. */
export async function writeDurably(path: string, bytes: Uint8Array | string): Promise<void> {
  await writeFile(path, bytes);
  const file = await open(path, "r+");
  await file.sync().finally(() => file.close());
}

/** Replaces a small file so that either the old or the new content is there after a crash. */
export async function replaceDurably(path: string, text: string): Promise<void> {
  await writeDurably(`${path}.new`, text);
  await rename(`${path}.new`, path);
}

/** Copies a small file durably. */
export async function copyDurably(fromPath: string, toPath: string): Promise<void> {
  await writeDurably(toPath, await readFile(fromPath));
}

/** Folder a replaced bundle stands in for a moment. */
function asidePath(outPath: string): string {
  return `${outPath}.old-flashlm`;
}

/** Names in a folder that are not of a bundle; none where there is no folder. */
async function foreignNames(path: string): Promise<string[]> {
  const names = await readdir(path).catch(() => [] as string[]);
  return names.filter((name) => !OWN_NAMES.has(name));
}

/** @throws BUNDLE_WRITE where a folder to work in holds files that no bundle has. */
export async function refuseForeign(path: string): Promise<void> {
  const [name] = await foreignNames(path);
  if (name === undefined) return;
  const message = `${path} holds files that are not of a bundle (${name}): move it away`;
  throw new FlashlmError("BUNDLE_WRITE", message, { path });
}

/**
 * Deletes a bundle's folder if all of it is ours. `bundle.json` goes first, so that half a folder is never taken for
 * a bundle.
 */
export async function discardFolder(path: string): Promise<void> {
  if ((await foreignNames(path)).length > 0) return;
  await rm(join(path, "bundle.json"), { force: true });
  await rm(path, { recursive: true, force: true });
}

/** Puts back what an interrupted replacement of the bundle at `outPath` moved aside, and drops leftovers of a finished one. */
export async function recoverReplacement(outPath: string): Promise<void> {
  const aside = asidePath(outPath);
  if (!existsSync(aside)) return;
  const isBundle = existsSync(join(aside, "bundle.json"));
  if (isBundle && existsSync(outPath)) await retire(aside, outPath);
  else if (isBundle) await rename(aside, outPath);
  else await discardFolder(aside);
}

/** Drops a replaced bundle; files that somebody put into it move to the new one. */
async function retire(aside: string, outPath: string): Promise<void> {
  for (const name of await foreignNames(aside)) {
    if (!existsSync(join(outPath, name))) await rename(join(aside, name), join(outPath, name));
  }
  await discardFolder(aside);
}

/** Moves a finished folder to `outPath`; a bundle already there is replaced and then deleted. */
export async function installFolder(partialPath: string, outPath: string): Promise<void> {
  await syncFolder(partialPath);
  const aside = asidePath(outPath);
  const replaces = existsSync(outPath);
  if (replaces) await rename(outPath, aside);
  try {
    await rename(partialPath, outPath);
  } catch (cause) {
    if (replaces) await rename(aside, outPath);
    throw cause;
  }
  await syncFolder(dirname(outPath));
  if (replaces) await retire(aside, outPath);
}

/** Reads a text file, or null when there is none. */
export async function readTextIfAny(path: string): Promise<string | null> {
  return readFile(path, "utf8").catch(() => null);
}

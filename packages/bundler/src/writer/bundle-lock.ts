import { randomBytes } from "node:crypto";
import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { FlashlmError } from "@flashlm/contracts";

const HELD: Set<string> = new Set();
/** How long a process that took a dead one's lock waits before it looks whether the lock is still its own. */
const SETTLE_MS = 50;
/** Tries to take a lock whose holder is gone; each loses only to another process that is trying the same. */
const ATTEMPT_COUNT = 4;

/** Start time of a process in clock ticks, so that a reused pid is not taken for the writer; "" where unknown. */
function startTicks(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? "";
  } catch {
    return "";
  }
}

function ownerLives(text: string, path: string): boolean {
  const [pidText = "", ticks = ""] = text.trim().split(" ");
  const pid = Number(pidText);
  if (!Number.isInteger(pid) || pid <= 0) return false;
  // The same process may hold it in another thread, which HELD does not show.
  if (pid === process.pid && HELD.has(path)) return true;
  if (pid === process.pid && ticks === "-") return false;
  try {
    process.kill(pid, 0);
  } catch (cause) {
    return (cause as NodeJS.ErrnoException).code === "EPERM";
  }
  return ticks === "-" || startTicks(pid) === ticks;
}

function readLock(path: string): string | null {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return null;
  }
}

/** Creates the lock with its content in one step, so that nobody sees it empty. False where it exists. */
function createLock(path: string, text: string): boolean {
  const draft = `${path}.${randomBytes(6).toString("hex")}`;
  try {
    writeFileSync(draft, text, { flag: "wx" });
    try {
      linkSync(draft, path);
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === "EEXIST") return false;
      writeFileSync(path, text, { flag: "wx" }); // FAT has no hard links.
    }
    return true;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw new FlashlmError(
      "BUNDLE_WRITE",
      `cannot create ${path}: ${(cause as Error).message}`,
      { path },
      cause,
    );
  } finally {
    rmSync(draft, { force: true });
  }
}

/**
 * Removes a dead process's lock. Two processes may find it at once and the slower one would remove the faster one's
 * new lock: it is moved aside, looked at, and put back where it is not the dead one.
 */
function removeDead(path: string, deadText: string): void {
  const aside = `${path}.${randomBytes(6).toString("hex")}`;
  try {
    renameSync(path, aside);
  } catch {
    return; // Another process was faster.
  }
  if (readLock(aside) !== deadText) {
    try {
      linkSync(aside, path);
    } catch {
      // A third process holds it now; the one put aside finds out when it looks again.
    }
  }
  rmSync(aside, { force: true });
}

function tryLock(path: string, text: string): boolean {
  let tookOver = false;
  for (let attempt = 0; attempt < ATTEMPT_COUNT; attempt++) {
    if (createLock(path, text)) {
      if (tookOver) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, SETTLE_MS);
      return readLock(path) === text;
    }
    const present = readLock(path);
    if (present === null) continue;
    if (ownerLives(present, path)) return false;
    removeDead(path, present);
    tookOver = true;
  }
  return false;
}

/**
 * Makes this process the only writer of a bundle; returns the release, which is idempotent. A lock whose process is
 * gone is taken over. Works between processes of one machine. @throws BUNDLE_BUSY, BUNDLE_WRITE.
 */
export function acquireBundleLock(outPath: string): () => void {
  const path = `${outPath}.lock`;
  const text = `${process.pid} ${startTicks(process.pid) || "-"} ${randomBytes(8).toString("hex")}\n`;
  if (!tryLock(path, text)) {
    const message = `another process is writing ${outPath}: wait for it, or delete ${path} if none is`;
    throw new FlashlmError("BUNDLE_BUSY", message, { path });
  }
  HELD.add(path);
  return () => {
    if (HELD.delete(path) && readLock(path) === text) rmSync(path, { force: true });
  };
}

import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { FlashlmError } from "@flashlm/contracts";

const HELD: Set<string> = new Set();

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
  if (pid === process.pid) return HELD.has(path);
  try {
    process.kill(pid, 0);
  } catch (cause) {
    return (cause as NodeJS.ErrnoException).code === "EPERM";
  }
  return ticks === "" || startTicks(pid) === ticks;
}

/**
 * Makes this process the only writer of a bundle; returns the release, which is idempotent. A lock whose process is
 * gone is taken over. @throws BUNDLE_BUSY, BUNDLE_WRITE.
 */
export function acquireBundleLock(outPath: string): () => void {
  const path = `${outPath}.lock`;
  for (let attempt = 0; attempt < 3; attempt++) {
    try {
      writeFileSync(path, `${process.pid} ${startTicks(process.pid)}\n`, { flag: "wx" });
      HELD.add(path);
      return () => {
        if (HELD.delete(path)) rmSync(path, { force: true });
      };
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== "EEXIST") {
        throw new FlashlmError("BUNDLE_WRITE", `cannot create ${path}: ${(cause as Error).message}`, { path }, cause);
      }
    }
    let text = "";
    try {
      text = readFileSync(path, "utf8");
    } catch {
      continue;
    }
    if (ownerLives(text, path)) break;
    rmSync(path, { force: true });
  }
  const message = `another process is writing ${outPath}: wait for it, or delete ${path} if none is`;
  throw new FlashlmError("BUNDLE_BUSY", message, { path });
}

import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** A memory cgroup with a limit and no swap, or null with the reason where none can be made. */
export function createMemoryCgroup(limitBytes) {
  let reason = "no memory controller is mounted";
  for (const make of [versionTwo, versionOne]) {
    try {
      const group = make(limitBytes);
      if (group) return { group, reason: "" };
    } catch (error) {
      reason = String(error.message ?? error);
    }
  }
  return { group: null, reason };
}

function versionTwo(limitBytes) {
  const root = "/sys/fs/cgroup";
  const controllers = join(root, "cgroup.controllers");
  if (!existsSync(controllers) || !readFileSync(controllers, "utf8").includes("memory")) return null;
  const path = join(root, `flashlm-${process.pid}`);
  writeFileSync(join(root, "cgroup.subtree_control"), "+memory");
  mkdirSync(path);
  writeFileSync(join(path, "memory.max"), String(limitBytes));
  writeFileSync(join(path, "memory.swap.max"), "0");
  return handle(
    path,
    "memory.peak",
    () => /oom_kill (\d+)/.exec(readFileSync(join(path, "memory.events"), "utf8"))?.[1],
  );
}

function versionOne(limitBytes) {
  const line = readFileSync("/proc/self/cgroup", "utf8")
    .split("\n")
    .find((entry) => /^\d+:([^:]*,)?memory(,|:)/.test(entry));
  const root = line ? join("/sys/fs/cgroup/memory", line.split(":")[2]) : null;
  if (root === null || !existsSync(join(root, "memory.limit_in_bytes"))) return null;
  const path = join(root, `flashlm-${process.pid}`);
  mkdirSync(path);
  writeFileSync(join(path, "memory.limit_in_bytes"), String(limitBytes));
  writeFileSync(join(path, "memory.swappiness"), "0");
  return handle(
    path,
    "memory.max_usage_in_bytes",
    () => /oom_kill (\d+)/.exec(readFileSync(join(path, "memory.oom_control"), "utf8"))?.[1],
  );
}

function handle(path, peakFile, killCount) {
  return {
    /** Wraps a command so that it runs inside. */
    command: (program, args) => [
      "sh",
      ["-c", `echo $$ > ${join(path, "cgroup.procs")} && exec "$0" "$@"`, program, ...args],
    ],
    peakBytes: () => Number(readFileSync(join(path, peakFile), "utf8")),
    killCount: () => Number(killCount() ?? 0),
    remove: () => rmdirSync(path),
  };
}

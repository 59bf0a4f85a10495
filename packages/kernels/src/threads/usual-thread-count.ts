import { readFileSync } from "node:fs";
import os from "node:os";
import {
  allowedProcessors,
  coresOfSiblings,
  quotaFolders,
  quotaOfCfs,
  quotaOfCpuMax,
} from "./processor-texts.js";

/** Text of a file, or null where it cannot be read. */
export type ReadText = (path: string) => string | null;

/**
 * Compute threads that suit this process: the physical cores that it may run on (threads of one core share its arithmetic), and no more
 * than its cgroup's CPU quota, rounded up. At least 1. Where the system does not say, what Node takes for parallel.
 *
 * Threads that read flash are not counted: they sleep in the kernel until a read ends, and a kernel set's threads take work in pieces, so that
 * one that loses its core for a moment holds nobody up.
 */
export function usualThreadCount(): number {
  const parallelCount = os.availableParallelism();
  return process.platform === "linux" ? linuxThreadCount(readText, parallelCount) : parallelCount;
}

/** {@link usualThreadCount} of Linux; `parallelCount` where the system does not say more, and at most. */
export function linuxThreadCount(read: ReadText, parallelCount: number): number {
  const allowed = allowedProcessors(read("/proc/self/status") ?? "");
  const siblings = (allowed ?? []).map((processor) =>
    read(`/sys/devices/system/cpu/cpu${processor}/topology/thread_siblings_list`),
  );
  const coreCount = allowed === null ? parallelCount : coresOfSiblings(siblings);
  return Math.max(1, Math.min(coreCount, parallelCount, Math.ceil(quota(read))));
}

/** Cores' worth of time that the tightest limit allows, or Infinity. */
function quota(read: ReadText): number {
  const { v1, v2 } = quotaFolders(read("/proc/self/cgroup") ?? "");
  const ofV2 = v2.map((folder) => quotaOfCpuMax(read(`${folder}/cpu.max`) ?? "max"));
  const ofV1 = v1.map((folder) =>
    quotaOfCfs(read(`${folder}/cpu.cfs_quota_us`) ?? "-1", read(`${folder}/cpu.cfs_period_us`) ?? "100000"),
  );
  return Math.min(Number.POSITIVE_INFINITY, ...ofV2, ...ofV1);
}

function readText(path: string): string | null {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return null; // Not there, or not for us: then it limits nothing that we could know.
  }
}

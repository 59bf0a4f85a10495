/** Most processors that a list may name: Linux is built for at most 8192, and a hostile text must not cost memory. */
const PROCESSOR_COUNT_MAX = 8192;

/** Processors of a kernel's list such as `0-3,8`, ascending as written; empty for a text that is no list. */
export function parseProcessorList(text: string): readonly number[] {
  const processors: number[] = [];
  for (const part of text.trim().split(",")) {
    const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(part.trim());
    if (match === null) return [];
    const first = Number(match[1]);
    const last = Math.min(Number(match[2] ?? first), PROCESSOR_COUNT_MAX - 1);
    for (let processor = first; processor <= last; processor++) processors.push(processor);
  }
  return processors;
}

/** Processors that `/proc/PID/status` allows, or null where it does not say. */
export function allowedProcessors(status: string): readonly number[] | null {
  const match = /^Cpus_allowed_list:\s*(\S+)$/m.exec(status);
  const processors = match === null ? [] : parseProcessorList(match[1]!);
  return processors.length > 0 ? processors : null;
}

/** Cores of processors by their `thread_siblings_list`: threads of one core have the same. Null, one that is not known, is a core of its own. */
export function coresOfSiblings(siblings: readonly (string | null)[]): number {
  const known = siblings.filter((text) => text !== null).map((text) => text.trim());
  return new Set(known).size + (siblings.length - known.length);
}

/** Cores' worth of time that `cpu.max` of cgroup v2 allows, such as `150000 100000` for 1.5; Infinity without a limit. */
export function quotaOfCpuMax(text: string): number {
  const [quota, period] = text.trim().split(/\s+/);
  return quotaCores(Number(quota), Number(period ?? 100_000));
}

/** Cores' worth of time that `cpu.cfs_quota_us` and `cpu.cfs_period_us` of cgroup v1 allow; Infinity without a limit, which is written -1. */
export function quotaOfCfs(quotaText: string, periodText: string): number {
  return quotaCores(Number(quotaText), Number(periodText));
}

function quotaCores(quotaMicroseconds: number, periodMicroseconds: number): number {
  const cores = quotaMicroseconds / periodMicroseconds;
  return quotaMicroseconds > 0 && periodMicroseconds > 0 ? cores : Number.POSITIVE_INFINITY;
}

/** Folders whose limits hold for a process, by its `/proc/PID/cgroup`: its own and those above it, for each version. */
export function quotaFolders(cgroups: string): {
  readonly v1: readonly string[];
  readonly v2: readonly string[];
} {
  const v1: string[] = [];
  const v2: string[] = [];
  for (const line of cgroups.split("\n")) {
    const match = /^\d+:([^:]*):(\/.*)$/.exec(line);
    if (match === null) continue;
    const controllers = match[1]!;
    const [list, root] = controllers === "" ? [v2, ""] : [v1, `/${controllers}`];
    if (controllers !== "" && !controllers.split(",").includes("cpu")) continue;
    // In a container the path may be the host's, and then only the root is there.
    for (let path = match[2]!.replace(/\/+$/, ""); ; path = path.slice(0, path.lastIndexOf("/"))) {
      list.push(`/sys/fs/cgroup${root}${path}`);
      if (path === "") break;
    }
  }
  return { v1, v2 };
}

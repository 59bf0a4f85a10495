import { availableParallelism } from "node:os";
import { describe, expect, test } from "vitest";
import {
  allowedProcessors,
  coresOfSiblings,
  parseProcessorList,
  quotaFolders,
  quotaOfCfs,
  quotaOfCpuMax,
} from "../src/threads/processor-texts.js";
import { linuxThreadCount, usualThreadCount } from "../src/threads/usual-thread-count.js";

describe("what Linux writes", () => {
  test.each([
    ["0", [0]],
    ["0-3,8\n", [0, 1, 2, 3, 8]],
    ["0-1, 4-5", [0, 1, 4, 5]],
    ["", []],
    ["0-", []],
    ["a", []],
  ])("list %j", (text, processors) => {
    expect(parseProcessorList(text)).toEqual(processors);
  });

  test("a hostile list costs no memory", () => {
    expect(parseProcessorList("0-99999")).toHaveLength(8192);
  });

  test("allowed processors", () => {
    const status = "Name:\tnode\nCpus_allowed:\t0f\nCpus_allowed_list:\t0-3\nMems_allowed_list:\t0\n";
    expect(allowedProcessors(status)).toEqual([0, 1, 2, 3]);
    expect(allowedProcessors("Name:\tnode\n")).toBeNull();
  });

  test("threads of one core are one, unknown ones each their own", () => {
    expect(coresOfSiblings(["0,4\n", "1,5\n", "0,4\n", "1,5\n"])).toBe(2);
    expect(coresOfSiblings(["0-1", "0-1", "2", null, null])).toBe(4);
    expect(coresOfSiblings([])).toBe(0);
  });

  test.each([
    ["max 100000\n", Number.POSITIVE_INFINITY],
    ["150000 100000\n", 1.5],
    ["50000 100000", 0.5],
    ["200000", 2],
    ["", Number.POSITIVE_INFINITY],
    ["0 0", Number.POSITIVE_INFINITY],
  ])("cpu.max %j", (text, cores) => {
    expect(quotaOfCpuMax(text)).toBe(cores);
  });

  test("quota of version 1", () => {
    expect(quotaOfCfs("-1\n", "100000\n")).toBe(Number.POSITIVE_INFINITY);
    expect(quotaOfCfs("250000\n", "100000\n")).toBe(2.5);
  });

  test("folders whose limits hold, from its own to the root", () => {
    const cgroups = "12:memory:/a\n4:cpu,cpuacct:/docker/x\n1:cpuset:/\n0::/user.slice/run.scope\n";
    expect(quotaFolders(cgroups)).toEqual({
      v1: [
        "/sys/fs/cgroup/cpu,cpuacct/docker/x",
        "/sys/fs/cgroup/cpu,cpuacct/docker",
        "/sys/fs/cgroup/cpu,cpuacct",
      ],
      v2: ["/sys/fs/cgroup/user.slice/run.scope", "/sys/fs/cgroup/user.slice", "/sys/fs/cgroup"],
    });
    expect(quotaFolders("0::/\n")).toEqual({ v1: [], v2: ["/sys/fs/cgroup"] });
  });
});

describe("threads of a machine", () => {
  /** Eight processors, which are four cores of two threads. */
  const machine: Readonly<Record<string, string>> = {
    "/proc/self/status": "Cpus_allowed_list:\t0-7\n",
    "/proc/self/cgroup": "0::/a/b\n",
    ...Object.fromEntries(
      Array.from({ length: 8 }, (_, processor) => [
        `/sys/devices/system/cpu/cpu${processor}/topology/thread_siblings_list`,
        `${processor % 4},${(processor % 4) + 4}\n`,
      ]),
    ),
  };
  const count = (changes: Readonly<Record<string, string>>, parallelCount = 8): number => {
    const files = { ...machine, ...changes };
    return linuxThreadCount((path) => files[path] ?? null, parallelCount);
  };

  test.each([
    ["cores, not threads", {}, 8, 4],
    ["processors that are allowed", { "/proc/self/status": "Cpus_allowed_list:\t0-1,4\n" }, 3, 2],
    ["both threads of one core", { "/proc/self/status": "Cpus_allowed_list:\t3,7\n" }, 2, 1],
    ["its own quota, rounded up", { "/sys/fs/cgroup/a/b/cpu.max": "150000 100000\n" }, 8, 2],
    ["the tightest quota above it", { "/sys/fs/cgroup/a/cpu.max": "20000 100000\n" }, 8, 1],
    ["a quota above the cores", { "/sys/fs/cgroup/cpu.max": "1600000 100000\n" }, 8, 4],
    [
      "a quota of version 1",
      {
        "/proc/self/cgroup": "3:cpu:/x\n0::/\n",
        "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "300000\n",
        "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
      },
      8,
      3,
    ],
    ["what Node takes for parallel, at most", {}, 2, 2],
  ])("%s", (_, changes, parallelCount, threadCount) => {
    expect(count(changes, parallelCount)).toBe(threadCount);
  });

  test("where nothing can be read, what Node says", () => {
    expect(linuxThreadCount(() => null, 6)).toBe(6);
  });

  test("of this machine", () => {
    const threadCount = usualThreadCount();
    expect(Number.isInteger(threadCount)).toBe(true);
    expect(threadCount).toBeGreaterThanOrEqual(1);
    expect(threadCount).toBeLessThanOrEqual(availableParallelism());
  });
});

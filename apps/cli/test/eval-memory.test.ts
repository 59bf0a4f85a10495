import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { KernelSet, KernelSetOptions } from "@flashlm/contracts";
import { afterAll, describe, expect, test, vi } from "vitest";
import { withKernelLimit } from "../src/kernel-measuring.js";
import { fixture, flashlm, temporaryFolder } from "./support/cli.js";

const model = fixture("families/llama");
const folder = temporaryFolder();
afterAll(() => {
  vi.unstubAllEnvs();
  folder.dispose();
});

test("measuring refuses kernels beyond its limit before any are made", async () => {
  const made: number[] = [];
  const createKernels = async ({ memoryBytes }: KernelSetOptions): Promise<KernelSet> => {
    made.push(memoryBytes);
    return {} as KernelSet;
  };
  const parts = withKernelLimit({ createKernels }, 1000);
  await parts.createKernels({ memoryBytes: 1000, threadCount: 1 });
  await expect(parts.createKernels({ memoryBytes: 1001, threadCount: 1 })).rejects.toMatchObject({
    code: "BUDGET_TOO_SMALL",
    details: { neededBytes: 1001, limitBytes: 1000, missingBytes: 1 },
  });
  expect(made).toEqual([1000]);
});

describe.skipIf(model === null)("eval", () => {
  const home = join(folder.path, "home");
  const evaluation = (memory: string, ...flags: string[]) =>
    flashlm(home, ["eval", model!, "--tokens", "1,2,3,4,5,6,7,8", "--memory", memory, ...flags]);

  test("measures nothing that a limit for the whole process leaves no room for, and says so", async () => {
    const peak = join(folder.path, "peak.mjs");
    writeFileSync(
      peak,
      "process.on('exit', () => console.error('peak', process.resourceUsage().maxRSS, 'KiB'));",
    );
    vi.stubEnv("NODE_OPTIONS", `--import=${pathToFileURL(peak)}`);
    const least = /Expected --memory of at least ([\d.]+) MiB/.exec((await evaluation("20MiB")).stderr);
    // What the process itself takes differs by a few MiB from run to run.
    const limitMebibytes = Math.ceil(Number(least?.[1]) + 16);
    const { code, stdout, stderr } = await evaluation(`${limitMebibytes}MiB`, "--json");
    expect(code).toBe(0);
    const { dense, speeds, notes } = JSON.parse(stdout);
    expect(dense.meanNll).toBeGreaterThan(0);
    expect(speeds).toEqual([]);
    expect(notes).toEqual([
      expect.stringMatching(/^no forecast: Expected [\d.]+ MiB of memory for measuring but --memory leaves/),
    ]);
    expect(Number(/peak (\d+) KiB/.exec(stderr)?.[1])).toBeLessThanOrEqual(limitMebibytes * 1024);
  });
});

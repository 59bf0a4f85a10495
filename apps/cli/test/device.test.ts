import type { ChildProcess } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, watch, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type DeviceProfile, parseDeviceProfile } from "@flashlm/contracts";
import { afterAll, describe, expect, test } from "vitest";
import { describeProfile, shortBytes, speedCurves } from "../src/device-report.js";
import { profileSvg } from "../src/device-svg.js";
import { fixture, flashlm, temporaryFolder } from "./support/cli.js";

const folder = temporaryFolder();
const home = join(folder.path, "home");
const disk = join(folder.path, "disk");
mkdirSync(disk);
afterAll(folder.dispose);

const quick = ["device", disk, "--backend", "node", "--seconds", "1", "--file-mib", "16"];

describe("flashlm device", () => {
  test("before anything was measured, --saved says what to do", async () => {
    const { code, stderr } = await flashlm(home, ["device", disk, "--saved"]);
    expect(code).toBe(1);
    expect(stderr).toContain("[FLASH_MEASURE]");
    expect(stderr).toContain(`flashlm device ${disk}`);
  });

  test("--json prints the profile alone, keeps it, and leaves the disk as it was", async () => {
    const { code, stdout, stderr } = await flashlm(home, [...quick, "--json"]);
    expect({ code, stderr: stderr.includes("[") }).toEqual({ code: 0, stderr: false });
    const profile = parseDeviceProfile(JSON.parse(stdout));
    expect(profile).toMatchObject({ backend: "node", file: { sizeBytes: 16 * 2 ** 20, isTemporary: true } });
    expect(profile.cells).toHaveLength(88);
    expect(readdirSync(disk)).toEqual([]);
    const [name, ...others] = readdirSync(join(home, "devices"));
    expect(others).toEqual([]);
    expect(JSON.parse(readFileSync(join(home, "devices", name!), "utf8"))).toEqual(profile);
    const saved = await flashlm(home, ["device", disk, "--saved", "--json"]);
    expect(JSON.parse(saved.stdout)).toEqual(profile);
  });

  test("prints tables and a plot, and writes one", async () => {
    const svg = join(folder.path, "plot.svg");
    const { code, stdout } = await flashlm(home, ["device", disk, "--saved", "--svg", svg]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^reader {6}node (direct|buffered)/m);
    expect(stdout).toMatch(/^ +1 +2 +4 +8 +16 +32 +64 +128$/m);
    expect(stdout).toMatch(/o 1 in flight/);
    expect(readFileSync(svg, "utf8")).toMatch(/^<svg [\s\S]*<polyline [\s\S]*<\/svg>\n$/);
    const refused = await flashlm(home, [
      "device",
      disk,
      "--saved",
      "--svg",
      join(folder.path, "no/plot.svg"),
    ]);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain("[ENGINE_OPTION]");
  });

  test("an interrupt ends it with 130 and removes its file", async () => {
    let child: ChildProcess | undefined;
    // Its file appears after it has begun to listen for interrupts.
    const watcher = watch(disk).once("change", () => child?.kill("SIGINT"));
    const args = ["device", disk, "--seconds", "30", "--file-mib", "16"];
    const { code, stdout, stderr } = await flashlm(home, args, undefined, (started) => {
      child = started;
    });
    watcher.close();
    expect({ code, stdout }).toEqual({ code: 130, stdout: "" });
    expect(stderr).toContain("[FLASH_ABORTED]");
    expect(readdirSync(disk)).toEqual([]);
  });

  test("an impatient second interrupt removes its file too", async () => {
    let child: ChildProcess | undefined;
    // Two kinds, because two of one kind can reach a process as one; both at once, before it has ended.
    const watcher = watch(disk).once("change", () => {
      child?.kill("SIGTERM");
      child?.kill("SIGINT");
    });
    const { code } = await flashlm(home, ["device", disk, "--file-mib", "256"], undefined, (started) => {
      child = started;
    });
    watcher.close();
    expect(code).toBe(130);
    expect(readdirSync(disk)).toEqual([]);
  });

  test("a path that is not there, and a file that is too small", async () => {
    const absent = await flashlm(home, ["device", join(folder.path, "absent")]);
    expect(absent.stderr).toContain("[FLASH_OPEN]");
    const small = join(folder.path, "small.bin");
    writeFileSync(small, "x");
    expect((await flashlm(home, ["device", small])).stderr).toContain("[FLASH_MEASURE]");
  });
});

const model = fixture("families/llama");
describe.skipIf(model === null)("a run", { sequential: true }, () => {
  const run = [
    "run",
    model ?? "",
    "--prompt-tokens",
    "1,2,3",
    "--max-tokens",
    "4",
    "--temperature",
    "0",
    "--reader",
    "node",
    "--json",
  ];

  test("plans by the saved profile, says so, and gives the same tokens", async () => {
    const without = JSON.parse((await flashlm(join(folder.path, "other"), run)).stdout);
    const { stdout, stderr } = await flashlm(home, run);
    const result = JSON.parse(stdout);
    expect(stderr).toBe("");
    expect(without.mode.planner).toBe("defaults");
    expect(result.mode.planner).toMatch(/^device profile of \d{4}-\d{2}-\d{2}$/);
    expect(result.tokens).toEqual(without.tokens);
  });

  test("goes on without a profile that is damaged, and says so", async () => {
    const [name] = readdirSync(join(home, "devices"));
    writeFileSync(join(home, "devices", name!), '{"formatVersion":1}');
    const { code, stdout, stderr } = await flashlm(home, run);
    expect(code).toBe(0);
    expect(JSON.parse(stdout).mode.planner).toBe("defaults");
    expect(stderr).toContain("[FLASH_PROFILE_FORMAT]");
  });
});

describe("the picture", () => {
  const speeds = [10e6, 20e6, null, 400e6];
  const profile: DeviceProfile = {
    formatVersion: 1,
    measuredAt: "2026-11-23T12:00:00.000Z",
    elapsedMs: 20_000,
    device: { deviceId: "254:0", mountPath: "/", source: "/dev/<vda>", fileSystem: "ext4" },
    backend: "node",
    directIo: true,
    alignmentBytes: 512,
    note: "",
    directAlignmentBytes: 4096,
    file: { sizeBytes: 2 ** 30, isTemporary: false },
    chunkBytes: [4096, 2 ** 20],
    depths: [1, 8],
    cells: speeds.map((bytesPerSecond, index) => ({
      chunkBytes: index < 2 ? 4096 : 2 ** 20,
      depth: index % 2 === 0 ? 1 : 8,
      origin: bytesPerSecond === null ? "skipped" : index === 3 ? "interpolated" : "measured",
      bytesPerSecond,
      spread: index < 2 ? 0 : null,
      latency: index < 2 ? { meanMs: 0.5, p99Ms: 12.3 } : null,
      readCount: 10,
    })),
    sequential: { chunkBytes: 2 ** 20, depth: 8, bytesPerSecond: 3e9 },
    copyBytesPerSecond: 9e9,
  };

  test("tables mark what was not measured", () => {
    const lines = describeProfile(profile);
    expect(lines).toContain("    4K     10    20");
    expect(lines).toContain("    1M      -  400*");
    expect(lines).toContain("    4K   0.50 (12)  0.50 (12)");
    expect(lines.some((line) => line.includes("4096 B past the page cache"))).toBe(true);
  });

  test("curves have their values, and gaps where there is none", () => {
    expect(speedCurves(profile)).toEqual([
      { depth: 1, megabytesPerSecond: [10, null] },
      { depth: 8, megabytesPerSecond: [20, 400] },
    ]);
    expect([4096, 2 ** 21].map(shortBytes)).toEqual(["4K", "2M"]);
    const top = describeProfile(profile).find((line) => line.trimStart().startsWith("400 |"));
    expect(top).toMatch(/\+$/);
  });

  test("the SVG escapes names and puts the fastest point at its height", () => {
    const svg = profileSvg(profile);
    expect(svg).toContain("/dev/&lt;vda&gt;");
    // 400 of a scale up to 500 MB/s: four fifths of the way from 370 up to 50.
    expect(svg).toContain('cx="600.0" cy="114.0"');
  });
});

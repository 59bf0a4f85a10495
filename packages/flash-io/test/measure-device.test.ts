import { spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FlashlmError, parseDeviceProfile } from "@flashlm/contracts";
import {
  createFaultyReader,
  createMemoryReader,
  createNodeReader,
  createTracingReader,
  identifyDevice,
  type MeasureOptions,
  type MeasureProgress,
  measureDevice,
  type TracedRead,
} from "@flashlm/flash-io";
import { afterAll, describe, expect, test } from "vitest";
import { formatDeviceNumber, parseMountInfo } from "../src/device/device-identity.js";
import { interpolateCells, measuringOrder, skippedCell } from "../src/device/grid.js";
import { chooseBytes } from "../src/device/measured-file.js";

const MIB = 2 ** 20;
const QUICK: MeasureOptions = {
  openReader: (paths, options) => createNodeReader(paths, options),
  budgetMs: 1200,
  fileBytes: 16 * MIB,
  chunkBytes: [4096, 65536, MIB],
  depths: [1, 4],
};
const folder: string = mkdtempSync(join(tmpdir(), "measure-device-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function codeOf(work: Promise<unknown>): Promise<string> {
  const error = await work.catch((cause: unknown) => cause);
  return FlashlmError.isInstance(error) ? error.code : String(error);
}

describe("a folder", () => {
  test("is measured with a file of its own, which is gone afterwards", async () => {
    const events: MeasureProgress[] = [];
    const profile = await measureDevice(folder, { ...QUICK, onProgress: (event) => events.push(event) });
    expect(readdirSync(folder)).toEqual([]);
    expect(parseDeviceProfile(JSON.parse(JSON.stringify(profile)))).toEqual(profile);
    expect(profile).toMatchObject({ backend: "node", file: { sizeBytes: 16 * MIB, isTemporary: true } });
    expect(profile.cells).toHaveLength(6);
    for (const cell of profile.cells.filter(({ origin }) => origin === "measured")) {
      expect(cell.bytesPerSecond).toBeGreaterThan(1000);
      expect(cell.readCount).toBeGreaterThan(0);
    }
    expect(profile.cells[0]!.origin).toBe("measured");
    expect(profile.sequential.bytesPerSecond).toBeGreaterThan(1000);
    expect(profile.copyBytesPerSecond).toBeGreaterThan(1e7);
    expect(new Set(events.map((event) => event.phase))).toEqual(
      new Set(["file", "sequential", "memory", "random"]),
    );
    const shares = events.map((event) => event.doneShare);
    expect(shares).toEqual(shares.toSorted((a, b) => a - b));
    expect(shares.at(-1)).toBeLessThanOrEqual(1);
  });

  test.each([
    ["while the file is written", "file"],
    ["while reading", "random"],
  ] as const)("an abort %s is FLASH_ABORTED and leaves nothing behind", async (_name, phase) => {
    const stop = new AbortController();
    const onProgress = (event: MeasureProgress): void => {
      if (event.phase === phase) stop.abort();
    };
    const work = measureDevice(folder, { ...QUICK, onProgress, signal: stop.signal });
    expect(await codeOf(work)).toBe("FLASH_ABORTED");
    expect(readdirSync(folder)).toEqual([]);
  });

  test("a failing reader's error comes through and leaves nothing behind", async () => {
    const openReader: MeasureOptions["openReader"] = async (paths, options) =>
      createFaultyReader(await createNodeReader(paths, options), { seed: 3, errorRate: 0.5 });
    expect(await codeOf(measureDevice(folder, { ...QUICK, openReader }))).toBe("FLASH_IO");
    const refusing: MeasureOptions["openReader"] = () => Promise.reject(new Error("no such backend"));
    expect(await codeOf(measureDevice(folder, { ...QUICK, openReader: refusing }))).toBe(
      "Error: no such backend",
    );
    expect(readdirSync(folder)).toEqual([]);
  });

  test("a process that exits in the middle leaves nothing behind", () => {
    const inside = join(folder, "exits");
    mkdirSync(inside);
    const program = `import { measureDevice } from "@flashlm/flash-io";
      await measureDevice(${JSON.stringify(inside)}, { fileBytes: ${64 * MIB}, onProgress: () => process.exit(3) });`;
    const options = { cwd: import.meta.dirname, timeout: 30_000 } as const;
    expect(spawnSync(process.execPath, ["--input-type=module", "-e", program], options).status).toBe(3);
    expect(readdirSync(inside)).toEqual([]);
    rmSync(inside, { recursive: true });
  });

  test("what a killed process left is removed once it is old", async () => {
    const gone = spawnSync(process.execPath, ["-e", ""]).pid;
    const old = join(folder, `.flashlm-device-${gone}-00ff.tmp`);
    const young = join(folder, `.flashlm-device-${gone}-11ff.tmp`);
    const alive = join(folder, `.flashlm-device-${process.pid}-22ff.tmp`);
    for (const path of [old, young, alive]) writeFileSync(path, "x");
    for (const path of [old, alive]) utimesSync(path, 1, 1);
    await measureDevice(folder, QUICK);
    expect([old, young, alive].map((path) => existsSync(path))).toEqual([false, true, true]);
    for (const path of [young, alive]) rmSync(path);
  });

  test("a disk without room is FLASH_DISK_FULL", async () => {
    const fileBytes = 2 ** 50;
    expect(await codeOf(measureDevice(folder, { ...QUICK, fileBytes }))).toBe("FLASH_DISK_FULL");
    expect(readdirSync(folder)).toEqual([]);
  });

  test("the file's size suits the disk", () => {
    const disk = (freeBytes: number, type = 0xef53) => ({ type, bsize: 4096, bavail: freeBytes / 4096 });
    expect(chooseBytes(disk(2 ** 40), null, "/")).toBe(2 ** 30);
    expect(chooseBytes(disk(600 * MIB), null, "/")).toBe(88 * MIB);
    expect(chooseBytes(disk(2 ** 40, 0x01021994), null, "/")).toBe(64 * MIB);
    expect(() => chooseBytes(disk(520 * MIB), null, "/")).toThrow(
      expect.objectContaining({ code: "FLASH_DISK_FULL" }),
    );
  });
});

describe("a file", () => {
  const path = join(folder, "given.bin");

  test("is read, in place and within its bounds, by the reader that is given", async () => {
    writeFileSync(path, new Uint8Array(16 * MIB + 77).fill(5));
    const reads: TracedRead[] = [];
    const openReader: MeasureOptions["openReader"] = async (paths) =>
      createTracingReader(await createMemoryReader(paths), (read) => reads.push(read));
    const profile = await measureDevice(path, { ...QUICK, budgetMs: 300, openReader });
    expect(profile).toMatchObject({
      backend: "memory",
      directIo: false,
      file: { sizeBytes: 16 * MIB + 77, isTemporary: false },
    });
    expect(reads.every((read) => read.offsetBytes % read.lengthBytes === 0)).toBe(true);
    // One in flight is all that this reader has: deeper cells are said to be unknown.
    const origins = profile.cells.map((cell) => `${cell.depth} ${cell.origin}`);
    expect(new Set(origins.filter((origin) => origin.startsWith("4")))).toEqual(new Set(["4 skipped"]));
    expect(existsSync(path)).toBe(true);
  });

  test("that is too small, or not there, or options that are no grid are refused", async () => {
    truncateSync(path, MIB);
    expect(await codeOf(measureDevice(path, QUICK))).toBe("FLASH_MEASURE");
    expect(await codeOf(measureDevice(join(folder, "absent"), QUICK))).toBe("FLASH_OPEN");
    expect(await codeOf(measureDevice(folder, { ...QUICK, depths: [4, 1] }))).toBe("FLASH_MEASURE");
    expect(await codeOf(measureDevice(folder, { ...QUICK, chunkBytes: [1000] }))).toBe("FLASH_MEASURE");
    rmSync(path);
  });
});

describe("the grid", () => {
  const chunks = Array.from({ length: 11 }, (_, power) => 4096 * 2 ** power);
  const depths = [1, 2, 4, 8, 16, 32, 64, 128];

  test("is measured from coarse to fine, each place once", () => {
    const order = measuringOrder(chunks, depths);
    expect(new Set(order.map((place) => place.index)).size).toBe(88);
    const coarse = order.slice(0, 12).map((place) => `${place.chunkBytes / 4096}/${place.depth}`);
    expect(coarse).toContain("1/1");
    expect(coarse).toContain("1024/128");
    expect(coarse).toContain("256/16");
  });

  test("what is not measured is interpolated between neighbours, or left out at an edge", () => {
    // A device whose requests cost 0.1 ms and 1 us per KiB, at every depth: linear, so that interpolation is exact.
    const speed = (chunkBytes: number): number => chunkBytes / (1e-4 + (chunkBytes / 1024) * 1e-6);
    const cells = chunks.flatMap((chunkBytes, row) =>
      depths.map((depth) =>
        row % 2 === 0
          ? {
              ...skippedCell(chunkBytes, depth),
              origin: "measured" as const,
              bytesPerSecond: speed(chunkBytes),
            }
          : skippedCell(chunkBytes, depth),
      ),
    );
    cells[0] = skippedCell(4096, 1);
    const wanted = new Set(cells.keys());
    wanted.delete(8);
    const filled = interpolateCells(cells, depths.length, wanted);
    expect(filled[0]!.origin).toBe("skipped");
    expect(filled[8]!.origin).toBe("skipped");
    expect(filled[9]).toMatchObject({ origin: "interpolated", chunkBytes: 8192, depth: 2, latency: null });
    for (const cell of filled.filter(({ origin }) => origin === "interpolated")) {
      expect(cell.bytesPerSecond! / speed(cell.chunkBytes)).toBeCloseTo(1, 9);
    }
    expect(filled.filter(({ origin }) => origin === "interpolated")).toHaveLength(39);
  });
});

describe("the device", () => {
  test("numbers and mounts are read as Linux writes them", () => {
    expect(formatDeviceNumber(65024n)).toBe("254:0");
    expect(formatDeviceNumber((0x103n << 8n) | 5n)).toBe("259:5");
    const text =
      "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard\n" +
      "36 35 98:0 /mnt1 /mnt/two\\040words rw,noatime master:1 shared:2 - xfs /dev/sd\\134x rw\n\n";
    expect(parseMountInfo(text)).toEqual([
      { deviceId: "254:0", mountPath: "/", fileSystem: "ext4", source: "/dev/vda" },
      { deviceId: "98:0", mountPath: "/mnt/two words", fileSystem: "xfs", source: "/dev/sd\\x" },
    ]);
  });

  test.skipIf(process.platform !== "linux")("of a path is the one that findmnt names", () => {
    const found = spawnSync("findmnt", ["-n", "-o", "MAJ:MIN,FSTYPE", "--target", folder], {
      encoding: "utf8",
    });
    const [deviceId, fileSystem] =
      found.status === 0 ? found.stdout.trim().split(/\s+/) : [identifyDevice(folder).deviceId, "unknown"];
    expect(identifyDevice(folder).deviceId).toBe(deviceId);
    if (found.status === 0) expect(identifyDevice(folder).fileSystem).toBe(fileSystem);
  });
});

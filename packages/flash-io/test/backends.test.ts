import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { FlashlmError, type FlashReader, ReadBatch } from "@flashlm/contracts";
import { createPrng } from "@flashlm/contracts/testing";
import { openFlashReader, type ReaderBackend } from "@flashlm/flash-io";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { workingBackends } from "./native-backends.js";

const FILE_BYTES = 1_500_003;
const folder: string = mkdtempSync(join(tmpdir(), "backends-"));
const path: string = join(folder, "data.bin");
const backends = await workingBackends();
let contents: Uint8Array;

beforeAll(() => {
  const random = createPrng(77);
  contents = Uint8Array.from({ length: FILE_BYTES }, () => random() * 256);
  writeFileSync(path, contents);
});
afterEach(() => vi.unstubAllEnvs());
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** `count` reads of 512 bytes, one after the other in the target. */
function smallReads(reader: FlashReader, count: number): { batch: ReadBatch; bytes: Uint8Array } {
  const { handle, bytes } = reader.allocateTarget(count * 512);
  const batch = new ReadBatch(count);
  for (let index = 0; index < count; index++) {
    const offsetBytes = handle.offsetBytes + index * 512;
    batch.push(0, (index % 2900) * 512, 512, { arenaId: handle.arenaId, offsetBytes });
  }
  return { batch, bytes };
}

function runProgram(program: string, limits = ""): string {
  const body = `import { ReadBatch } from "@flashlm/contracts";
    import { openFlashReader } from "@flashlm/flash-io"; const path = ${JSON.stringify(path)}; ${program}`;
  const command = `${limits} exec "$0" --input-type=module -e "$1"`;
  const options = { cwd: import.meta.dirname, timeout: 30_000, encoding: "utf8" } as const;
  return execFileSync("/bin/sh", ["-c", command, process.execPath, body], options);
}

describe.each(backends)("%s", (backend: ReaderBackend) => {
  test("says its own name", async () => {
    const reader = await openFlashReader([path], { backend });
    expect(reader.capabilities.backend).toBe(backend);
    await reader.close();
  });

  test("many thousand reads of one batch arrive", async () => {
    const reader = await openFlashReader([path], { backend });
    const { batch, bytes } = smallReads(reader, 20_000);
    reader.submit(batch).waitAll();
    for (let index = 0; index < batch.count; index += 97) {
      const start = (index % 2900) * 512;
      const arrived = bytes.subarray(index * 512, (index + 1) * 512);
      expect(Buffer.compare(arrived, contents.subarray(start, start + 512))).toBe(0);
    }
    expect(reader.stats()).toEqual({ requestCount: 20_000, readBytes: 20_000 * 512 });
    await reader.close();
  });

  test("a long read with odd ends crosses several bounce chunks", async () => {
    const reader = await openFlashReader([path], { backend });
    const { handle, bytes } = reader.allocateTarget(FILE_BYTES);
    const batch = new ReadBatch(1);
    batch.push(0, 3, FILE_BYTES - 3, { arenaId: handle.arenaId, offsetBytes: handle.offsetBytes + 1 });
    reader.submit(batch).waitAll();
    expect(Buffer.compare(bytes.subarray(1, FILE_BYTES - 2), contents.subarray(3))).toBe(0);
    expect(bytes[0]).toBe(0);
    await reader.close();
  });

  test("demand reads overtake speculative ones that have not started", async () => {
    const reader = await openFlashReader([path], { backend, inFlightMax: 1 });
    const speculative = reader.submit(smallReads(reader, 4000).batch, { priority: "speculative" });
    reader.submit(smallReads(reader, 10).batch, { priority: "demand" }).waitAll();
    let landedCount = 0;
    for (let index = 0; index < speculative.count; index++) if (speculative.landed(index)) landedCount++;
    expect(landedCount).toBeLessThan(4000);
    speculative.cancel();
    await expect(speculative.settled()).rejects.toMatchObject({ code: "FLASH_ABORTED" });
    await reader.close();
  });

  test("reads past the end of a truncated file fail, the others land", async () => {
    const shrinking = join(folder, `${backend}.bin`);
    writeFileSync(shrinking, contents);
    const reader = await openFlashReader([shrinking], { backend });
    truncateSync(shrinking, 100_000);
    const { batch, bytes } = smallReads(reader, 2000);
    const pending = reader.submit(batch);
    let failedCount = 0;
    for (let step = 0; step < batch.count; step++) {
      try {
        const index = pending.waitNext();
        expect(batch.offsetBytes[index]! + 512).toBeLessThanOrEqual(100_000);
      } catch (error) {
        expect(error).toMatchObject({ code: "FLASH_SHORT_READ", details: { path: shrinking } });
        failedCount++;
      }
    }
    expect(failedCount).toBe(2000 - Math.floor(100_000 / 512));
    expect(Buffer.compare(bytes.subarray(0, 99_840), contents.subarray(0, 99_840))).toBe(0);
    await reader.close();
  });

  test("an open reader does not keep the process alive, an awaited read does", () => {
    const output = runProgram(`
      await openFlashReader([path], { backend: "${backend}" });
      const reader = await openFlashReader([path], { backend: "${backend}" });
      const { handle } = reader.allocateTarget(4096);
      const batch = new ReadBatch(1);
      batch.push(0, 0, 4096, handle);
      await reader.submit(batch).settled();
      console.log("settled");`);
    expect(output).toBe("settled\n");
  });

  test("a process that ends with reads in flight, and a reader nobody closed, end well", () => {
    const output = runProgram(`
      for (let turn = 0; turn < 3; turn++) {
        const reader = await openFlashReader([path], { backend: "${backend}", inFlightMax: 4 });
        const { handle } = reader.allocateTarget(1 << 20);
        const batch = new ReadBatch(200);
        for (let index = 0; index < 200; index++) batch.push(0, index * 4096, 4096, { ...handle, offsetBytes: handle.offsetBytes + index * 4096 });
        reader.submit(batch);
      }
      console.log("end");
      process.exit(0);`);
    expect(output).toBe("end\n");
  });

  test("a worker that is terminated with reads in flight takes nobody along", async () => {
    const shared = new Uint8Array(new SharedArrayBuffer(1 << 20));
    for (let turn = 0; turn < 3; turn++) {
      const worker = new Worker(new URL("./busy-worker.mjs", import.meta.url), {
        workerData: { path, backend, shared },
      });
      await new Promise((resolve, reject) => worker.once("message", resolve).once("error", reject));
      expect(await worker.terminate()).toBe(1);
    }
  });

  test("too few descriptors are FLASH_OPEN, and a closed reader gives its own back", () => {
    const output = runProgram(
      `const open = [];
      let code = "";
      while (code === "") {
        try { open.push(await openFlashReader(Array(20).fill(path), { backend: "${backend}", inFlightMax: 2 })); }
        catch (error) { code = error.code + " " + error.details.errorCode; }
      }
      console.log(code);
      await Promise.all(open.map((reader) => reader.close()));
      const reader = await openFlashReader([path], { backend: "${backend}" });
      console.log(reader.capabilities.backend);
      await reader.close();`,
      "ulimit -n 120;",
    );
    expect(output).toMatch(new RegExp(`^(FLASH_OPEN EMFILE|FLASH_BACKEND undefined)\n${backend}\n$`));
  });

  test.runIf(existsSync("/dev/shm"))(
    "a file system without direct I/O is read through the cache, and said",
    async () => {
      const folderInMemory = mkdtempSync("/dev/shm/backends-");
      try {
        const file = join(folderInMemory, "data.bin");
        writeFileSync(file, contents.subarray(0, 100_000));
        const reader = await openFlashReader([file], { backend });
        const { batch, bytes } = smallReads(reader, 100);
        reader.submit(batch).waitAll();
        expect(Buffer.compare(bytes, contents.subarray(0, 51_200))).toBe(0);
        // Newer kernels have direct I/O on tmpfs.
        if (reader.capabilities.directIo) expect(reader.capabilities.note).toBe("");
        else
          expect(reader.capabilities).toMatchObject({
            alignmentBytes: 1,
            note: expect.stringContaining("O_DIRECT"),
          });
        await reader.close();
      } finally {
        rmSync(folderInMemory, { recursive: true, force: true });
      }
    },
  );

  test.runIf(existsSync("/proc/self/io"))("counts the bytes that the kernel counts", async () => {
    const reader = await openFlashReader([path], { backend });
    const { handle } = reader.allocateTarget(300 * 4096);
    const batch = new ReadBatch(300);
    for (let index = 0; index < batch.capacity; index++) {
      const offsetBytes = handle.offsetBytes + index * 4096;
      batch.push(0, index * 4096 + (index % 3) * 100, 3500, { arenaId: handle.arenaId, offsetBytes });
    }
    const kernelBytes = (): number =>
      Number(/^read_bytes: (\d+)$/m.exec(readFileSync("/proc/self/io", "utf8"))![1]);
    const before = kernelBytes();
    reader.submit(batch).waitAll();
    const counted = kernelBytes() - before;
    if (reader.capabilities.directIo) {
      expect(reader.stats().readBytes / counted).toBeGreaterThan(0.98);
      expect(reader.stats().readBytes / counted).toBeLessThan(1.02);
    } else expect(counted).toBeLessThanOrEqual(reader.stats().readBytes);
    await reader.close();
  });
});

describe("choice of a backend", () => {
  test("auto takes the best that works", async () => {
    const reader = await openFlashReader([path]);
    expect(reader.capabilities.backend).toBe(backends[0]);
    await reader.close();
  });

  test("where io_uring is refused, auto goes on and says why", async () => {
    vi.stubEnv("FLASHLM_IO_URING", "off");
    const reader = await openFlashReader([path]);
    expect(["pread", "node"]).toContain(reader.capabilities.backend);
    expect(reader.capabilities.note).toMatch(/io_uring not used: FLASHLM_IO_URING=off|no native reader: /);
    await reader.close();
  });

  test("without the addon, auto is the portable reader and says why", async () => {
    vi.stubEnv("FLASHLM_NATIVE", "off");
    const reader = await openFlashReader([path]);
    expect(reader.capabilities.backend).toBe("node");
    expect(reader.capabilities.note).toContain("FLASHLM_NATIVE=off");
    await reader.close();
  });

  test("a backend that is asked for and refused is one error with a reason for each", async () => {
    vi.stubEnv("FLASHLM_IO_URING", "off");
    const error = await openFlashReader([path], { backend: "io_uring" }).catch((cause: unknown) => cause);
    expect(error).toMatchObject({ code: "FLASH_BACKEND", details: { backend: "io_uring" } });
    const reasons = FlashlmError.isInstance(error) ? (error.details.reasons as readonly string[]) : [];
    expect(reasons.map((reason) => reason.split(":")[0])).toEqual(["io_uring", "pread", "node", "memory"]);
  });

  test("in-flight limits outside 1 to 256 are refused", async () => {
    for (const inFlightMax of [0, 257, 1.5]) {
      await expect(openFlashReader([path], { inFlightMax })).rejects.toMatchObject({
        code: "FLASH_OUT_OF_RANGE",
      });
    }
  });

  test("times awake outside 0 to 10,000 microseconds are refused", async () => {
    for (const awakeUs of [-1, 10_001, 0.5, Number.NaN]) {
      await expect(openFlashReader([path], { awakeUs })).rejects.toMatchObject({
        code: "FLASH_OUT_OF_RANGE",
      });
    }
  });
});

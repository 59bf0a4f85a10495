import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Worker } from "node:worker_threads";
import { FlashlmError, type FlashReader, ReadBatch } from "@flashlm/contracts";
import { createPrng } from "@flashlm/contracts/testing";
import {
  createFaultyReader,
  createMemoryReader,
  createNodeReader,
  createTracingReader,
  type TracedRead,
} from "@flashlm/flash-io";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

const FILE_BYTES = 1_500_003;
const folder: string = mkdtempSync(join(tmpdir(), "readers-"));
const path: string = join(folder, "data.bin");
let contents: Uint8Array;

beforeAll(() => {
  const random = createPrng(31);
  contents = Uint8Array.from({ length: FILE_BYTES }, () => random() * 256);
  writeFileSync(path, contents);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** `count` reads of 512 bytes each, one after the other in file and target. */
function smallReads(
  reader: FlashReader,
  count: number,
): { readonly batch: ReadBatch; readonly bytes: Uint8Array } {
  const { handle, bytes } = reader.allocateTarget(count * 512);
  const batch = new ReadBatch(count);
  for (let index = 0; index < count; index++) {
    const offsetBytes = handle.offsetBytes + index * 512;
    batch.push(0, (index % 2900) * 512, 512, { arenaId: handle.arenaId, offsetBytes });
  }
  return { batch, bytes };
}

function endings(pending: ReturnType<FlashReader["submit"]>): string[] {
  const codes: string[] = new Array(pending.count).fill("");
  for (let step = 0; step < pending.count; step++) {
    try {
      pending.waitNext();
    } catch (error) {
      if (!FlashlmError.isInstance(error)) throw error;
      codes[Number(error.details.readIndex)] = error.code;
    }
  }
  expect(pending.waitNext()).toBe(-1);
  return codes;
}

describe("node reader", () => {
  test("more reads than the rings hold", async () => {
    const reader = await createNodeReader([path]);
    const count = 20_000;
    const { batch, bytes } = smallReads(reader, count);
    reader.submit(batch).waitAll();
    for (let index = 0; index < count; index += 97) {
      const start = (index % 2900) * 512;
      const arrived = bytes.subarray(index * 512, (index + 1) * 512);
      expect(Buffer.compare(arrived, contents.subarray(start, start + 512))).toBe(0);
    }
    expect(reader.stats()).toEqual({ requestCount: count, readBytes: count * 512 });
    await reader.close();
  });

  test("a long read with odd ends crosses several bounce chunks", async () => {
    const reader = await createNodeReader([path]);
    const { handle, bytes } = reader.allocateTarget(FILE_BYTES);
    const batch = new ReadBatch(1);
    batch.push(0, 3, FILE_BYTES - 3, { arenaId: handle.arenaId, offsetBytes: handle.offsetBytes + 1 });
    reader.submit(batch).waitAll();
    expect(Buffer.compare(bytes.subarray(1, FILE_BYTES - 2), contents.subarray(3))).toBe(0);
    expect(bytes[0]).toBe(0);
    await reader.close();
  });

  test.skipIf(!existsSync("/proc/self/io"))("counts the bytes that the kernel counts", async (context) => {
    const reader = await createNodeReader([path]);
    if (!reader.capabilities.directIo) context.skip("no direct I/O here");
    const { handle } = reader.allocateTarget(FILE_BYTES);
    const batch = new ReadBatch(300);
    for (let index = 0; index < batch.capacity; index++) {
      const offsetBytes = handle.offsetBytes + index * 4096;
      batch.push(0, index * 4096 + (index % 3) * 100, 3500, { arenaId: handle.arenaId, offsetBytes });
    }
    const kernelBytes = (): number =>
      Number(/^read_bytes: (\d+)$/m.exec(readFileSync("/proc/self/io", "utf8"))![1]);
    const before = kernelBytes();
    reader.submit(batch).waitAll();
    const share = reader.stats().readBytes / (kernelBytes() - before);
    expect(share).toBeGreaterThan(0.98);
    expect(share).toBeLessThan(1.02);
    await reader.close();
  });

  test("direct I/O is off when it is switched off, and the note says why", async () => {
    const reader = await createNodeReader([path], { directIo: "off" });
    expect(reader.capabilities).toMatchObject({ directIo: false, alignmentBytes: 1, backend: "node" });
    expect(reader.capabilities.note).toContain("switched off");
    await reader.close();
  });

  test("demand reads overtake speculative ones that have not started", async () => {
    const reader = await createNodeReader([path], { inFlightMax: 1 });
    const speculative = reader.submit(smallReads(reader, 4000).batch, { priority: "speculative" });
    const demand = reader.submit(smallReads(reader, 10).batch, { priority: "demand" });
    demand.waitAll();
    let landedCount = 0;
    for (let index = 0; index < speculative.count; index++) if (speculative.landed(index)) landedCount++;
    expect(landedCount).toBeLessThan(4000);
    speculative.waitAll();
    await reader.close();
  });

  test("targets that are not shared memory, and bad options, are refused", async () => {
    await expect(createNodeReader([path], { inFlightMax: 0 })).rejects.toMatchObject({
      code: "FLASH_OUT_OF_RANGE",
    });
    const reader = await createNodeReader([path]);
    const attach = (): void => reader.attach({ arenaId: 1, lengthBytes: 4, bytes: new Uint8Array(4) });
    expect(attach).toThrow(expect.objectContaining({ code: "FLASH_OUT_OF_RANGE" }));
    await reader.close();
  });

  test("a helper that dies fails reads instead of hanging", async () => {
    const helpers: Worker[] = [];
    const note = (helper: Worker): void => void helpers.push(helper);
    process.on("worker" as "exit", note as never);
    const reader = await createNodeReader([path], { inFlightMax: 1 });
    process.off("worker", note as never);
    expect(helpers).toHaveLength(1);
    const pending = reader.submit(smallReads(reader, 16_000).batch);
    // Not awaited: the engine blocks before its event loop could hear of the exit.
    void helpers[0]!.terminate();
    const codes = new Set(endings(pending).map((code) => (code === "FLASH_IO" ? code : "")));
    expect(codes.has("FLASH_IO")).toBe(true);
    await expect(pending.settled()).rejects.toMatchObject({ code: "FLASH_IO" });
    expect(() => reader.submit(smallReads(reader, 1).batch)).toThrow(
      expect.objectContaining({ code: "FLASH_IO" }),
    );
    await reader.close();
  });

  test("neither an open nor a closed reader keeps the process alive", () => {
    const program = `import { createNodeReader } from "@flashlm/flash-io";
      await createNodeReader([${JSON.stringify(path)}]);
      const closed = await createNodeReader([${JSON.stringify(path)}]);
      await closed.close();
      console.log("end");`;
    const options = { cwd: import.meta.dirname, timeout: 20_000, encoding: "utf8" } as const;
    expect(execFileSync(process.execPath, ["--input-type=module", "-e", program], options)).toBe("end\n");
  });
});

describe("wrappers", () => {
  test("tracing tells of each accepted read", async () => {
    const seen: TracedRead[] = [];
    const reader = createTracingReader(
      await createMemoryReader([{ path: "given", bytes: contents }]),
      (read) => seen.push(read),
    );
    reader.submit(smallReads(reader, 2).batch, { priority: "speculative" });
    expect(seen).toEqual([
      { fileIndex: 0, offsetBytes: 0, lengthBytes: 512, priority: "speculative" },
      { fileIndex: 0, offsetBytes: 512, lengthBytes: 512, priority: "speculative" },
    ]);
    await reader.close();
  });

  test("faults come at their rates, by seed, and spoil only their own targets", async () => {
    const run = async (seed: number): Promise<readonly string[]> => {
      const inner = await createMemoryReader([path]);
      const reader = createFaultyReader(inner, { seed, errorRate: 0.1, shortReadRate: 0.2, delayRate: 0.01 });
      const { batch, bytes } = smallReads(reader, 2000);
      const codes = endings(reader.submit(batch));
      for (const [index, code] of codes.entries()) {
        const arrived = bytes.subarray(index * 512, (index + 1) * 512);
        const isRight = Buffer.compare(arrived, contents.subarray(index * 512, (index + 1) * 512)) === 0;
        if (isRight !== (code === "")) throw new Error(`read ${index} with code "${code}" has wrong bytes`);
      }
      await reader.close();
      return codes;
    };
    const codes = await run(1);
    const shareOf = (code: string): number => codes.filter((other) => other === code).length / codes.length;
    expect(shareOf("FLASH_IO")).toBeCloseTo(0.1, 1);
    expect(shareOf("FLASH_SHORT_READ")).toBeCloseTo(0.2, 1);
    expect(await run(1)).toEqual(codes);
    expect(await run(2)).not.toEqual(codes);
  });
});

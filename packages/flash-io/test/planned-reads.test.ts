import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type FlashReader, ReadBatch, ReadPlan, TARGET_ANYWHERE, WantedReads } from "@flashlm/contracts";
import { createPrng } from "@flashlm/contracts/testing";
import { createMemoryReader, createNodeReader, createReadPlanner } from "@flashlm/flash-io";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";

const FILE_BYTES = 300_001;
const ARENA_ID = 1;
const ARENA_BYTES = 2 * 1024 * 1024;
const STAGING_START = ARENA_BYTES / 2;
const CAPACITY = 32;

const folder: string = mkdtempSync(join(tmpdir(), "planned-reads-"));
const path: string = join(folder, "data.bin");
const arena = new Uint8Array(new SharedArrayBuffer(ARENA_BYTES));
const readers: FlashReader[] = [];

beforeAll(async () => {
  const random = createPrng(21);
  writeFileSync(
    path,
    Uint8Array.from({ length: FILE_BYTES }, () => random() * 256),
  );
  readers.push(await createMemoryReader([path]), await createNodeReader([path]));
  for (const reader of readers) reader.attach({ arenaId: ARENA_ID, lengthBytes: ARENA_BYTES, bytes: arena });
});
afterAll(async () => {
  await Promise.all(readers.map((reader) => reader.close()));
  rmSync(folder, { recursive: true, force: true });
});

/** Runs a plan as a scheduler does: reads, then copies of staged pieces to fixed targets. */
function runPlan(reader: FlashReader, wanted: WantedReads, plan: ReadPlan): Uint8Array[] {
  const batch = new ReadBatch(CAPACITY);
  for (let read = 0; read < plan.readCount; read++) {
    const direct = plan.readTargetOffsetBytes[read]!;
    const offsetBytes = direct === TARGET_ANYWHERE ? STAGING_START + plan.stagingOffsetBytes[read]! : direct;
    batch.push(0, plan.readOffsetBytes[read]!, plan.readLengthBytes[read]!, {
      arenaId: ARENA_ID,
      offsetBytes,
    });
  }
  reader.submit(batch).waitAll();
  const arrived: Uint8Array[] = [];
  for (let read = 0; read < plan.readCount; read++) {
    for (let piece = plan.pieceStart[read]!; piece < plan.pieceStart[read + 1]!; piece++) {
      const record = plan.pieceWanted[piece]!;
      const from = batch.targetOffsetBytes[read]! + plan.pieceOffsetBytes[piece]!;
      arrived[record] = arena.subarray(from, from + wanted.lengthBytes[record]!);
    }
  }
  return arrived;
}

const planCase = fc.record({
  records: fc.array(
    fc.record({
      gapBytes: fc.oneof(fc.constant(0), fc.nat(3000), fc.nat(20_000)),
      lengthBytes: fc.oneof(fc.constantFrom(512, 2048, 4096), fc.integer({ min: 1, max: 9000 })),
      isFixed: fc.boolean(),
      order: fc.nat(),
    }),
    { maxLength: CAPACITY },
  ),
  targetShift: fc.constantFrom(0, 512, 16),
  gapBytesMax: fc.constantFrom(0, 1000, 16_384),
  readBytesMax: fc.constantFrom(1, 8192, 1024 * 1024),
  alignmentBytes: fc.constantFrom(1, 512, 4096),
});

test("every wanted byte arrives exactly once under plan and read", () => {
  const contents = readFileSync(path);
  const wanted = new WantedReads(CAPACITY);
  const plan = new ReadPlan(CAPACITY);
  fc.assert(
    fc.property(planCase, ({ records, targetShift, alignmentBytes, gapBytesMax, readBytesMax }) => {
      let offsetBytes = 0;
      const placed = records.map((record) => {
        offsetBytes += record.gapBytes;
        const start = offsetBytes;
        offsetBytes += record.lengthBytes;
        return { ...record, start };
      });
      wanted.clear();
      for (const { start, lengthBytes, isFixed } of placed.toSorted((a, b) => a.order - b.order)) {
        if (start + lengthBytes > FILE_BYTES) continue;
        wanted.push(start, lengthBytes, isFixed ? start + targetShift : TARGET_ANYWHERE);
      }
      createReadPlanner({ alignmentBytes, gapBytesMax, readBytesMax }).plan(wanted, FILE_BYTES, plan);
      for (const reader of readers) {
        arena.fill(0xee);
        const arrived = runPlan(reader, wanted, plan);
        for (let record = 0; record < wanted.count; record++) {
          const start = wanted.offsetBytes[record]!;
          const bytes = contents.subarray(start, start + wanted.lengthBytes[record]!);
          expect(Buffer.compare(arrived[record]!, bytes)).toBe(0);
        }
      }
    }),
    { numRuns: 120, seed: 5 },
  );
});

test("touching records with touching targets become one direct read", () => {
  const wanted = new WantedReads(3);
  wanted.push(8192, 4096, 4096 + 65536);
  wanted.push(4096, 4096, 65536);
  wanted.push(12_288, 512, 4096 * 2 + 65536);
  const plan = new ReadPlan(3);
  createReadPlanner({ alignmentBytes: 512 }).plan(wanted, FILE_BYTES, plan);
  expect([plan.readCount, plan.readOffsetBytes[0], plan.readLengthBytes[0]]).toEqual([1, 4096, 8704]);
  expect([plan.readTargetOffsetBytes[0], plan.stagingBytes]).toEqual([65536, 0]);
  expect([...plan.pieceWanted]).toEqual([1, 0, 2]);
});

test("neighbours merge up to the gap and split at the limit, at record boundaries", () => {
  const wanted = new WantedReads(4);
  for (const start of [0, 2000, 4001, 9000]) wanted.push(start, 1000);
  const plan = new ReadPlan(4);
  createReadPlanner({ alignmentBytes: 1, gapBytesMax: 1000 }).plan(wanted, FILE_BYTES, plan);
  expect([...plan.readOffsetBytes.subarray(0, plan.readCount)]).toEqual([0, 4001, 9000]);
  createReadPlanner({ alignmentBytes: 1, gapBytesMax: 99_999, readBytesMax: 5001 }).plan(
    wanted,
    FILE_BYTES,
    plan,
  );
  expect([...plan.readLengthBytes.subarray(0, plan.readCount)]).toEqual([5001, 1000]);
});

test("a bad option or a plan that is too small is FLASH_OUT_OF_RANGE", () => {
  for (const options of [
    { alignmentBytes: 3 },
    { alignmentBytes: 0 },
    { alignmentBytes: 1, gapBytesMax: -1 },
  ]) {
    expect(() => createReadPlanner(options)).toThrow(expect.objectContaining({ code: "FLASH_OUT_OF_RANGE" }));
  }
  const wanted = new WantedReads(2);
  wanted.push(0, 1);
  wanted.push(1, 1);
  const plan = (): void => createReadPlanner({ alignmentBytes: 1 }).plan(wanted, 10, new ReadPlan(1));
  expect(plan).toThrow(expect.objectContaining({ code: "FLASH_OUT_OF_RANGE" }));
});

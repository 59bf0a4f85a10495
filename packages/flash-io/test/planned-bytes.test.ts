import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type FlashReader, ReadBatch, ReadPlan, TARGET_ANYWHERE, WantedReads } from "@flashlm/contracts";
import { createPrng } from "@flashlm/contracts/testing";
import { createMemoryReader, createNodeReader, createReadPlanner } from "@flashlm/flash-io";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { profileOf } from "./support/profiles.js";

/** `npm run prove -- flash-io.3` asks for more. */
const RUNS = Number(process.env.FLASHLM_PROPERTY_RUNS ?? 100);
const FILE_BYTES = 1_200_001;
const ARENA_ID = 1;
const SLOTS_BYTES = 4 * 2 ** 20;
const STAGING_BYTES_MAX = 2 ** 20;
const CAPACITY = 40;
const SENTINEL = 0xee;

const folder: string = mkdtempSync(join(tmpdir(), "planned-bytes-"));
const path: string = join(folder, "data.bin");
const arena = new Uint8Array(new SharedArrayBuffer(SLOTS_BYTES + STAGING_BYTES_MAX));
/** How many times each byte of the slots was written. */
const written = new Uint8Array(SLOTS_BYTES);
const readers: FlashReader[] = [];
let contents: Uint8Array;

beforeAll(async () => {
  const random = createPrng(22);
  writeFileSync(
    path,
    Uint8Array.from({ length: FILE_BYTES }, () => random() * 256),
  );
  contents = readFileSync(path);
  readers.push(await createMemoryReader([path]), await createNodeReader([path]));
  for (const reader of readers) reader.attach({ arenaId: ARENA_ID, lengthBytes: arena.length, bytes: arena });
});
afterAll(async () => {
  await Promise.all(readers.map((reader) => reader.close()));
  rmSync(folder, { recursive: true, force: true });
});

interface WantedRecord {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly targetBytes: number;
}

const planCase = fc.record({
  records: fc.array(
    fc.record({
      gapBytes: fc.oneof(fc.constant(0), fc.nat(3000), fc.nat(60_000)),
      lengthBytes: fc.oneof(fc.constantFrom(512, 1836, 2048, 4096), fc.integer({ min: 1, max: 30_000 })),
      targetGapBytes: fc.constantFrom(0, 0, 0, 1, 512, 4096),
      isFixed: fc.boolean(),
      order: fc.nat(),
    }),
    { maxLength: CAPACITY },
  ),
  firstTargetBytes: fc.constantFrom(0, 16, 512, 4096),
  alignmentBytes: fc.constantFrom(1, 512, 4096),
  limits: fc.record(
    {
      gapBytesMax: fc.constantFrom(0, 1000, 65_536),
      readBytesMax: fc.constantFrom(1, 8192, 100_000, 2 ** 20),
    },
    { requiredKeys: [] },
  ),
  device: fc.option(
    fc.record({
      requestMs: fc.double({ min: 0.001, max: 5, noNaN: true }),
      bytesPerMs: fc.double({ min: 1e4, max: 1e7, noNaN: true }),
      noise: fc.double({ min: 0, max: 3, noNaN: true }),
      copyBytesPerSecond: fc.double({ min: 1e8, max: 1e11, noNaN: true }),
    }),
  ),
  inFlightMax: fc.constantFrom(1, 8, 32),
  stagingBytes: fc.integer({ min: 65_536, max: STAGING_BYTES_MAX }),
  readerIndex: fc.nat(1),
});

type PlanCase = typeof planCase extends fc.Arbitrary<infer Value> ? Value : never;

function place(drawn: PlanCase): WantedRecord[] {
  let offsetBytes = 0;
  let targetBytes = drawn.firstTargetBytes;
  const records: (WantedRecord & { readonly order: number })[] = [];
  for (const { gapBytes, lengthBytes, targetGapBytes, isFixed, order } of drawn.records) {
    offsetBytes += gapBytes;
    targetBytes += targetGapBytes;
    if (offsetBytes + lengthBytes > FILE_BYTES) break;
    records.push({ offsetBytes, lengthBytes, targetBytes: isFixed ? targetBytes : TARGET_ANYWHERE, order });
    offsetBytes += lengthBytes;
    if (isFixed) targetBytes += lengthBytes;
  }
  return records.toSorted((a, b) => a.order - b.order);
}

function expectRecord(record: WantedRecord, atBytes: number): void {
  const wanted = contents.subarray(record.offsetBytes, record.offsetBytes + record.lengthBytes);
  expect(Buffer.compare(arena.subarray(atBytes, atBytes + record.lengthBytes), wanted)).toBe(0);
}

/** Reads a plan as the engine does: in place, or through the staging and a copy. Counts what is written where. */
function runPlan(
  reader: FlashReader,
  records: readonly WantedRecord[],
  plan: ReadPlan,
  arrived: number[],
): void {
  const batch = new ReadBatch(CAPACITY);
  for (let read = 0; read < plan.readCount; read++) {
    const direct = plan.readTargetOffsetBytes[read]!;
    const lengthBytes = plan.readLengthBytes[read]!;
    const offsetBytes = direct === TARGET_ANYWHERE ? SLOTS_BYTES + plan.stagingOffsetBytes[read]! : direct;
    batch.push(0, plan.readOffsetBytes[read]!, lengthBytes, { arenaId: ARENA_ID, offsetBytes });
    if (direct !== TARGET_ANYWHERE)
      for (let at = direct; at < direct + lengthBytes; at++) written[at] = written[at]! + 1;
  }
  reader.submit(batch).waitAll();
  for (let read = 0; read < plan.readCount; read++) {
    const isDirect = plan.readTargetOffsetBytes[read] !== TARGET_ANYWHERE;
    for (let piece = plan.pieceStart[read]!; piece < plan.pieceStart[read + 1]!; piece++) {
      const index = plan.pieceWanted[piece]!;
      const record = records[index]!;
      const { targetBytes, lengthBytes } = record;
      const fromBytes = batch.targetOffsetBytes[read]! + plan.pieceOffsetBytes[piece]!;
      arrived[index] = arrived[index]! + 1;
      if (targetBytes === TARGET_ANYWHERE) expectRecord(record, fromBytes);
      else if (!isDirect) {
        arena.copyWithin(targetBytes, fromBytes, fromBytes + lengthBytes);
        for (let at = targetBytes; at < targetBytes + lengthBytes; at++) written[at] = written[at]! + 1;
      }
    }
  }
}

/** Plans as many of the records as the staging takes, and reads them; returns how many. */
function runChunk(drawn: PlanCase, records: readonly WantedRecord[]): number {
  const { device } = drawn;
  const noise = createPrng(7);
  const profile =
    device === null
      ? undefined
      : profileOf(
          (chunkBytes) => (device.requestMs + chunkBytes / device.bytesPerMs) * (1 + device.noise * noise()),
          { copyBytesPerSecond: device.copyBytesPerSecond },
        );
  const { alignmentBytes, inFlightMax, limits } = drawn;
  const planner = createReadPlanner({
    alignmentBytes,
    inFlightMax,
    ...limits,
    ...(profile ? { profile } : {}),
  });
  const wanted = new WantedReads(CAPACITY);
  const plan = new ReadPlan(CAPACITY);
  let count = records.length;
  for (; ; count = Math.ceil(count / 2)) {
    wanted.clear();
    for (const { offsetBytes, lengthBytes, targetBytes } of records.slice(0, count))
      wanted.push(offsetBytes, lengthBytes, targetBytes);
    planner.plan(wanted, FILE_BYTES, plan);
    if (plan.stagingBytes <= drawn.stagingBytes || count === 1) break;
  }
  const arrived = new Array<number>(count).fill(0);
  runPlan(readers[drawn.readerIndex]!, records, plan, arrived);
  expect(arrived).toEqual(new Array<number>(count).fill(1));
  return count;
}

test(`every requested byte arrives exactly once in its target, and no other byte is touched (${RUNS} cases)`, () => {
  fc.assert(
    fc.property(planCase, (drawn) => {
      arena.fill(SENTINEL);
      written.fill(0);
      const records = place(drawn);
      for (let done = 0; done < records.length; ) done += runChunk(drawn, records.slice(done));
      const expected = new Uint8Array(SLOTS_BYTES);
      const slots = new Uint8Array(SLOTS_BYTES).fill(SENTINEL);
      for (const { offsetBytes, lengthBytes, targetBytes } of records) {
        if (targetBytes === TARGET_ANYWHERE) continue;
        expected.fill(1, targetBytes, targetBytes + lengthBytes);
        slots.set(contents.subarray(offsetBytes, offsetBytes + lengthBytes), targetBytes);
      }
      expect(Buffer.compare(written, expected)).toBe(0);
      expect(Buffer.compare(arena.subarray(0, SLOTS_BYTES), slots)).toBe(0);
    }),
    { numRuns: RUNS, seed: 6 },
  );
}, 600_000);

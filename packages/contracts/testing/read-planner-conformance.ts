import { describe, expect, test } from "vitest";
import { FlashlmError } from "../src/errors.js";
import { ReadPlan, type ReadPlanner, TARGET_ANYWHERE, WantedReads } from "../src/flash-reader.js";
import { createPrng } from "./prng.js";

/** What a planner is made with; bytes. */
export interface PlannerChoice {
  readonly alignmentBytes: number;
  readonly gapBytesMax: number;
  readonly readBytesMax: number;
}

/** What {@link readPlannerConformance} needs to know about a planner. */
export interface ReadPlannerSubject {
  readonly name: string;
  create(choice: PlannerChoice): ReadPlanner;
}

const CAPACITY = 64;
const ROUNDS = 300;

function pick<Value>(random: () => number, values: readonly Value[]): Value {
  return values[Math.floor(random() * values.length)]!;
}

/** Records of one file in random order: fixed or free targets, touching, near and far. Returns the file's size. */
function drawWanted(random: () => number, wanted: WantedReads, strideBytes: number): number {
  const records: { offsetBytes: number; lengthBytes: number; targetOffsetBytes: number }[] = [];
  const count = Math.floor(random() * CAPACITY);
  let fileBytes = pick(random, [0, 1, 4096, strideBytes]);
  let targetBytes = pick(random, [0, 16, 4096]);
  const targets = pick(random, ["free", "fixed", "mixed"]);
  for (let index = 0; index < count; index++) {
    fileBytes += pick(random, [0, 0, 0, strideBytes, 17, 100_000]);
    targetBytes += pick(random, [0, 0, 0, 0, strideBytes, 32]);
    const lengthBytes = random() < 0.9 ? strideBytes : Math.ceil(random() * 30_000);
    const isFree = targets === "free" || (targets === "mixed" && random() < 0.3);
    records.push({
      offsetBytes: fileBytes,
      lengthBytes,
      targetOffsetBytes: isFree ? TARGET_ANYWHERE : targetBytes,
    });
    fileBytes += lengthBytes;
    targetBytes += lengthBytes;
  }
  if (random() < 0.7) {
    for (let last = records.length - 1; last > 0; last--) {
      const other = Math.floor(random() * (last + 1));
      [records[last], records[other]] = [records[other]!, records[last]!];
    }
  }
  wanted.clear();
  for (const record of records) {
    wanted.push(record.offsetBytes, record.lengthBytes, record.targetOffsetBytes);
  }
  return fileBytes + pick(random, [0, 1, 5000]);
}

/** Each wanted record is exactly one piece, inside its read, at its place. */
function expectPieces(wanted: WantedReads, plan: ReadPlan): void {
  expect(plan.pieceCount).toBe(wanted.count);
  const covered = Array.from(plan.pieceWanted.subarray(0, plan.pieceCount)).toSorted((a, b) => a - b);
  expect(covered).toEqual(Array.from({ length: wanted.count }, (_, index) => index));
  expect(plan.pieceStart[0]).toBe(0);
  expect(plan.pieceStart[plan.readCount]).toBe(wanted.count);
  for (let read = 0; read < plan.readCount; read++) {
    expect(plan.pieceStart[read + 1]!).toBeGreaterThan(plan.pieceStart[read]!);
    for (let piece = plan.pieceStart[read]!; piece < plan.pieceStart[read + 1]!; piece++) {
      const record = plan.pieceWanted[piece]!;
      const within = plan.pieceOffsetBytes[piece]!;
      expect(plan.readOffsetBytes[read]! + within).toBe(wanted.offsetBytes[record]!);
      expect(within + wanted.lengthBytes[record]!).toBeLessThanOrEqual(plan.readLengthBytes[read]!);
    }
  }
}

/** Alignment, limits, and staging areas that do not overlap. */
function expectReads(plan: ReadPlan, choice: PlannerChoice, fileSizeBytes: number): void {
  const { alignmentBytes, readBytesMax } = choice;
  let stagingUsedBytes = 0;
  for (let read = 0; read < plan.readCount; read++) {
    const startBytes = plan.readOffsetBytes[read]!;
    const endBytes = startBytes + plan.readLengthBytes[read]!;
    expect(startBytes % alignmentBytes).toBe(0);
    expect(endBytes).toBeLessThanOrEqual(fileSizeBytes);
    if (endBytes !== fileSizeBytes) expect(endBytes % alignmentBytes).toBe(0);
    if (plan.pieceStart[read + 1]! - plan.pieceStart[read]! > 1) {
      expect(endBytes - startBytes).toBeLessThanOrEqual(readBytesMax + 2 * alignmentBytes);
    }
    if (plan.readTargetOffsetBytes[read] !== TARGET_ANYWHERE) continue;
    expect(plan.stagingOffsetBytes[read]! % alignmentBytes).toBe(0);
    expect(plan.stagingOffsetBytes[read]!).toBeGreaterThanOrEqual(stagingUsedBytes);
    stagingUsedBytes = plan.stagingOffsetBytes[read]! + endBytes - startBytes;
  }
  expect(plan.stagingBytes).toBeGreaterThanOrEqual(stagingUsedBytes);
}

/** Gaps within a read are small, and a direct read writes its records' targets and nothing else. */
function expectTargets(wanted: WantedReads, plan: ReadPlan, choice: PlannerChoice): void {
  for (let read = 0; read < plan.readCount; read++) {
    const target = plan.readTargetOffsetBytes[read]!;
    const isDirect = target !== TARGET_ANYWHERE;
    let recordBytes = 0;
    let endBytes = -1;
    for (let piece = plan.pieceStart[read]!; piece < plan.pieceStart[read + 1]!; piece++) {
      const record = plan.pieceWanted[piece]!;
      recordBytes += wanted.lengthBytes[record]!;
      if (endBytes >= 0) {
        expect(wanted.offsetBytes[record]! - endBytes).toBeLessThanOrEqual(choice.gapBytesMax);
      }
      endBytes = wanted.offsetBytes[record]! + wanted.lengthBytes[record]!;
      if (!isDirect) continue;
      expect(wanted.targetOffsetBytes[record]!).toBe(target + plan.pieceOffsetBytes[piece]!);
    }
    if (!isDirect) continue;
    expect(recordBytes).toBe(plan.readLengthBytes[read]!);
    expect(target % choice.alignmentBytes).toBe(0);
    expect(plan.readLengthBytes[read]! % choice.alignmentBytes).toBe(0);
  }
}

/** Every planner of the project passes this suite. */
export function readPlannerConformance(subject: ReadPlannerSubject): void {
  describe(`ReadPlanner conformance: ${subject.name}`, () => {
    test("random records are covered, aligned and within the limits; plans are reused", () => {
      const random = createPrng(11);
      const wanted = new WantedReads(CAPACITY);
      const plan = new ReadPlan(CAPACITY);
      for (let round = 0; round < ROUNDS; round++) {
        const choice = {
          alignmentBytes: pick(random, [1, 512, 4096]),
          gapBytesMax: pick(random, [0, 100, 16_384]),
          readBytesMax: pick(random, [4096, 50_000, 1024 * 1024]),
        };
        const planner = subject.create(choice);
        expect(planner).toMatchObject({
          contractVersion: 1,
          alignmentBytes: choice.alignmentBytes,
          readBytesMax: choice.readBytesMax,
        });
        expect(planner.gapBytesMax).toBeLessThanOrEqual(choice.gapBytesMax);
        expect(planner.basis).not.toBe("");
        const fileSizeBytes = drawWanted(random, wanted, pick(random, [512, 4096, 6144, 1000]));
        planner.plan(wanted, fileSizeBytes, plan);
        expectPieces(wanted, plan);
        expectReads(plan, choice, fileSizeBytes);
        expectTargets(wanted, plan, choice);
      }
    });

    test("nothing wanted, nothing read", () => {
      const plan = new ReadPlan(4);
      plan.readCount = 3;
      subject
        .create({ alignmentBytes: 512, gapBytesMax: 0, readBytesMax: 4096 })
        .plan(new WantedReads(4), 100, plan);
      expect([plan.readCount, plan.pieceCount, plan.stagingBytes]).toEqual([0, 0, 0]);
    });

    test("a record outside the file is FLASH_OUT_OF_RANGE", () => {
      const wanted = new WantedReads(1);
      wanted.push(90, 11);
      const planner = subject.create({ alignmentBytes: 512, gapBytesMax: 0, readBytesMax: 4096 });
      let code = "";
      try {
        planner.plan(wanted, 100, new ReadPlan(1));
      } catch (error) {
        code = FlashlmError.isInstance(error) ? error.code : String(error);
      }
      expect(code).toBe("FLASH_OUT_OF_RANGE");
    });
  });
}

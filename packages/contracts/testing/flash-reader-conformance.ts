import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { FlashlmError } from "../src/errors.js";
import { type FlashReader, type PendingReads, ReadBatch } from "../src/flash-reader.js";
import { createPrng } from "./prng.js";

/** What {@link flashReaderConformance} needs to know about a reader. */
export interface FlashReaderSubject {
  readonly name: string;
  /** Opens the files; the suite closes the reader. */
  create(paths: readonly string[]): Promise<FlashReader>;
  /** True when files are copied to memory at opening, so that a later truncation cannot be seen. */
  readonly holdsWholeFiles?: boolean;
}

const SENTINEL = 0xee;
const ARENA_ID = 7;
/** Odd on purpose: the last block of the file is not a whole one. */
const FILE_SIZES_BYTES = [1_000_003, 40_960, 1, 0, 513] as const;

/** How a read ended: its index, or the code and index of its error. */
interface Ending {
  readonly index: number;
  readonly code: string;
}

function drainEndings(pending: PendingReads): Ending[] {
  const endings: Ending[] = [];
  for (let step = 0; step <= pending.count; step++) {
    try {
      const index = pending.waitNext();
      if (index === -1) return endings;
      endings.push({ index, code: "" });
    } catch (error) {
      if (!FlashlmError.isInstance(error)) throw error;
      endings.push({ index: Number(error.details.readIndex), code: error.code });
    }
  }
  throw new Error("waitNext returned more reads than were submitted");
}

function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    return FlashlmError.isInstance(error) ? error.code : String(error);
  }
  return "nothing was thrown";
}

/** Files, their contents, and an arena over plain shared memory (its address is aligned to nothing). */
class Bench {
  readonly folder: string = mkdtempSync(join(tmpdir(), "flash-reader-"));
  readonly paths: string[] = [];
  readonly contents: Uint8Array[] = [];
  readonly arena: Uint8Array = new Uint8Array(new SharedArrayBuffer(4 * 1024 * 1024));

  constructor() {
    const random = createPrng(1);
    for (const [index, sizeBytes] of FILE_SIZES_BYTES.entries()) {
      const path = join(this.folder, `file-${index}.bin`);
      writeFileSync(
        path,
        Uint8Array.from({ length: sizeBytes }, () => random() * 256),
      );
      this.paths.push(path);
      this.contents.push(readFileSync(path));
    }
  }

  expectBytes(target: Uint8Array, fileIndex: number, offsetBytes: number, lengthBytes: number): void {
    const wanted = this.contents[fileIndex]!.subarray(offsetBytes, offsetBytes + lengthBytes);
    expect(Buffer.compare(target.subarray(0, lengthBytes), wanted)).toBe(0);
  }
}

/** Fills a batch with random reads to disjoint places; returns the first byte after the last target. */
function fillRandomly(batch: ReadBatch, random: () => number, startBytes: number, aligned: boolean): number {
  const step = aligned ? 4096 : 1;
  let targetBytes = startBytes;
  batch.clear();
  while (batch.count < batch.capacity) {
    const fileIndex = aligned ? 0 : Math.floor(random() * FILE_SIZES_BYTES.length);
    const sizeBytes = FILE_SIZES_BYTES[fileIndex]!;
    if (sizeBytes === 0) continue;
    const offsetBytes = Math.floor((random() * sizeBytes) / step) * step;
    const longestBytes = Math.min(sizeBytes - offsetBytes, random() < 0.1 ? 300_000 : 9_000);
    const lengthBytes = Math.max(aligned ? 0 : 1, Math.floor((random() * longestBytes) / step) * step);
    targetBytes += aligned ? 4096 : Math.floor(random() * 70);
    batch.push(fileIndex, offsetBytes, lengthBytes, { arenaId: ARENA_ID, offsetBytes: targetBytes });
    targetBytes += lengthBytes;
  }
  return targetBytes;
}

/** Compares every landed target with the file, and every byte between targets with the sentinel. */
function expectArena(bench: Bench, batches: readonly ReadBatch[]): void {
  const expected = new Uint8Array(bench.arena.length).fill(SENTINEL);
  for (const batch of batches) {
    for (let index = 0; index < batch.count; index++) {
      const offsetBytes = batch.offsetBytes[index]!;
      expected.set(
        bench.contents[batch.fileIndex[index]!]!.subarray(
          offsetBytes,
          offsetBytes + batch.lengthBytes[index]!,
        ),
        batch.targetOffsetBytes[index]!,
      );
    }
  }
  expect(Buffer.compare(bench.arena, expected)).toBe(0);
}

/** Every reader of the project passes this suite; it is the definition of {@link FlashReader}. */
export function flashReaderConformance(subject: FlashReaderSubject): void {
  describe(`FlashReader conformance: ${subject.name}`, () => {
    let bench: Bench;
    const open: FlashReader[] = [];
    const openReader = async (paths: readonly string[] = bench.paths): Promise<FlashReader> => {
      const reader = await subject.create(paths);
      open.push(reader);
      reader.attach({ arenaId: ARENA_ID, lengthBytes: bench.arena.length, bytes: bench.arena });
      bench.arena.fill(SENTINEL);
      return reader;
    };
    beforeAll(() => {
      bench = new Bench();
    });
    afterEach(async () => {
      await Promise.all(open.splice(0).map((reader) => reader.close()));
    });
    afterAll(() => rmSync(bench.folder, { recursive: true, force: true }));

    readingTests(() => bench, openReader);
    refusalTests(subject, () => bench, openReader);
    cancelTests(() => bench, openReader);
  });
}

type OpenReader = (paths?: readonly string[]) => Promise<FlashReader>;

function readingTests(getBench: () => Bench, openReader: OpenReader): void {
  test("says what it is", async () => {
    const reader = await openReader();
    expect(reader.contractVersion).toBe(1);
    expect(reader.files.map((file) => file.sizeBytes)).toEqual([...FILE_SIZES_BYTES]);
    expect(reader.files.map((file) => file.path)).toEqual(getBench().paths);
    const { capabilities } = reader;
    expect(capabilities.backend).not.toBe("");
    expect(Number.isInteger(Math.log2(capabilities.alignmentBytes))).toBe(true);
    expect(capabilities.inFlightMax).toBeGreaterThanOrEqual(1);
    expect(capabilities.readBytesMax).toBeGreaterThanOrEqual(1024 * 1024);
  });

  test.each([
    ["unaligned", false],
    ["aligned", true],
  ] as const)("random %s extents arrive, once, and nothing else is touched", async (_name, aligned) => {
    const reader = await openReader();
    const random = createPrng(aligned ? 2 : 3);
    for (let round = 0; round < 8; round++) {
      getBench().arena.fill(SENTINEL);
      const batch = new ReadBatch(40);
      fillRandomly(batch, random, 64, aligned);
      const pending = reader.submit(batch);
      expect(pending.count).toBe(40);
      const order = drainEndings(pending).map((ending) => ending.index);
      expect(order.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 40 }, (_, index) => index));
      expect(pending.waitNext()).toBe(-1);
      expect(order.every((index) => pending.landed(index))).toBe(true);
      expectArena(getBench(), [batch]);
    }
  });

  test("batches interleave, in both priorities, and batches may be reused after submit", async () => {
    const reader = await openReader();
    const random = createPrng(4);
    const kept: ReadBatch[] = [];
    const pendings: PendingReads[] = [];
    const reused = new ReadBatch(13);
    let nextBytes = 0;
    for (let round = 0; round < 12; round++) {
      const copy = new ReadBatch(13);
      nextBytes = fillRandomly(reused, random, nextBytes, false);
      for (let index = 0; index < reused.count; index++) {
        copy.push(reused.fileIndex[index]!, reused.offsetBytes[index]!, reused.lengthBytes[index]!, {
          arenaId: ARENA_ID,
          offsetBytes: reused.targetOffsetBytes[index]!,
        });
      }
      pendings.push(reader.submit(reused, { priority: round % 2 === 0 ? "speculative" : "demand" }));
      reused.offsetBytes.fill(0);
      reused.targetOffsetBytes.fill(0);
      kept.push(copy);
    }
    for (const [turn, pending] of pendings.toReversed().entries()) {
      if (turn % 3 === 0) pending.waitAll();
      else if (turn % 3 === 1) await pending.settled();
      expect(drainEndings(pending)).toHaveLength(13);
    }
    expectArena(getBench(), kept);
  });

  test("an empty batch has ended", async () => {
    const reader = await openReader();
    const pending = reader.submit(new ReadBatch(4));
    expect(pending.waitNext()).toBe(-1);
    pending.waitAll();
    await pending.settled();
  });

  test("reads to memory of its own, at the file's very end too, and counts them", async () => {
    const bench = getBench();
    const reader = await openReader();
    const before = reader.stats();
    for (const lengthBytes of [1, 512, 4096, 100_000, 300_000]) {
      const { handle, bytes } = reader.allocateTarget(lengthBytes);
      expect(bytes.length).toBe(lengthBytes);
      const batch = new ReadBatch(1);
      const offsetBytes = FILE_SIZES_BYTES[0] - lengthBytes;
      batch.push(0, offsetBytes, lengthBytes, handle);
      reader.submit(batch).waitAll();
      bench.expectBytes(bytes, 0, offsetBytes, lengthBytes);
    }
    const after = reader.stats();
    expect(after.requestCount - before.requestCount).toBe(5);
    expect(after.readBytes - before.readBytes).toBeGreaterThanOrEqual(404_609);
    expect(after.readBytes - before.readBytes).toBeLessThanOrEqual(404_609 + 5 * 2 * 4096);
  });

  test("settled resolves without any wait, and reads land without one", async () => {
    const reader = await openReader();
    const batch = new ReadBatch(20);
    fillRandomly(batch, createPrng(5), 0, false);
    const pending = reader.submit(batch);
    await pending.settled();
    for (let index = 0; index < batch.count; index++) expect(pending.landed(index)).toBe(true);
    expectArena(getBench(), [batch]);
  });
}

function refusalTests(subject: FlashReaderSubject, getBench: () => Bench, openReader: OpenReader): void {
  test("a file that is not there is FLASH_OPEN", async () => {
    const path = join(getBench().folder, "absent.bin");
    const error = await subject.create([getBench().paths[0]!, path]).catch((cause: unknown) => cause);
    expect(error).toMatchObject({ code: "FLASH_OPEN", details: { path, errorCode: "ENOENT" } });
    const folder = await subject.create([getBench().folder]).catch((cause: unknown) => cause);
    expect(folder).toMatchObject({ code: "FLASH_OPEN" });
  });

  test.each([
    ["an extent past the end", 0, FILE_SIZES_BYTES[0] - 1, 2, 0, ARENA_ID],
    ["a negative offset", 0, -1, 1, 0, ARENA_ID],
    ["a fraction", 0, 0.5, 1, 0, ARENA_ID],
    ["not a number", 0, Number.NaN, 1, 0, ARENA_ID],
    ["a negative length", 0, 10, -1, 0, ARENA_ID],
    ["an unknown file", 99, 0, 1, 0, ARENA_ID],
    ["a target past the arena's end", 0, 0, 2, 4 * 1024 * 1024 - 1, ARENA_ID],
    ["a negative target", 0, 0, 2, -1, ARENA_ID],
    ["an unknown arena", 0, 0, 1, 0, ARENA_ID + 1],
  ])(
    "%s is FLASH_OUT_OF_RANGE and starts nothing of its batch",
    async (_name, file, offset, length, target, id) => {
      const reader = await openReader();
      const batch = new ReadBatch(2);
      batch.push(0, 0, 64, { arenaId: ARENA_ID, offsetBytes: 64 });
      batch.push(file, offset, length, { arenaId: id, offsetBytes: target });
      expect(codeOf(() => reader.submit(batch))).toBe("FLASH_OUT_OF_RANGE");
      expect(reader.stats().requestCount).toBe(0);
      expectArena(getBench(), []);
    },
  );

  test(
    subject.holdsWholeFiles === true
      ? "a file that shrank after it was taken into memory is read as it was"
      : "a file that shrank is FLASH_SHORT_READ for its read and for no other",
    async () => {
      const bench = getBench();
      const path = join(bench.folder, "shrinking.bin");
      const sizeBytes = 20_000;
      writeFileSync(path, bench.contents[0]!.subarray(0, sizeBytes));
      const reader = await openReader([path]);
      truncateSync(path, sizeBytes - 1);
      const batch = new ReadBatch(3);
      batch.push(0, 0, 8192, { arenaId: ARENA_ID, offsetBytes: 0 });
      batch.push(0, sizeBytes - 5000, 5000, { arenaId: ARENA_ID, offsetBytes: 8192 });
      batch.push(0, 4096, 4097, { arenaId: ARENA_ID, offsetBytes: 16384 });
      const pending = reader.submit(batch);
      const endings = drainEndings(pending).toSorted((a, b) => a.index - b.index);
      if (subject.holdsWholeFiles === true) {
        expect(endings.map((ending) => ending.code)).toEqual(["", "", ""]);
        rmSync(path);
        return;
      }
      expect(endings.map((ending) => ending.code)).toEqual(["", "FLASH_SHORT_READ", ""]);
      bench.expectBytes(bench.arena, 0, 0, 8192);
      bench.expectBytes(bench.arena.subarray(16384), 0, 4096, 4097);
      expect([0, 1, 2].map((index) => pending.landed(index))).toEqual([true, false, true]);
      expect(codeOf(() => pending.waitAll())).toBe("FLASH_SHORT_READ");
      const error = await pending.settled().catch((cause: unknown) => cause);
      expect(error).toMatchObject({
        code: "FLASH_SHORT_READ",
        details: { path, readIndex: 1, offsetBytes: 15_000, lengthBytes: 5000, gotBytes: 4999 },
      });
      rmSync(path);
    },
  );

  test("after close every call is FLASH_CLOSED, and closing again is fine", async () => {
    const reader = await openReader();
    await reader.close();
    await reader.close();
    const batch = new ReadBatch(1);
    expect(codeOf(() => reader.submit(batch))).toBe("FLASH_CLOSED");
    expect(codeOf(() => reader.allocateTarget(16))).toBe("FLASH_CLOSED");
    const { arena } = getBench();
    const attach = (): void => reader.attach({ arenaId: 1, lengthBytes: arena.length, bytes: arena });
    expect(codeOf(attach)).toBe("FLASH_CLOSED");
  });
}

function cancelTests(getBench: () => Bench, openReader: OpenReader): void {
  /** Each read has landed with its bytes, or was aborted and its target was never touched. */
  const expectLandedOrUntouched = (pending: PendingReads, lengthBytes: number): void => {
    const bench = getBench();
    const endings = drainEndings(pending);
    expect(endings.map((ending) => ending.index).toSorted((a, b) => a - b)).toEqual(
      Array.from({ length: pending.count }, (_, index) => index),
    );
    for (const { index, code } of endings) {
      const target = bench.arena.subarray(index * lengthBytes, (index + 1) * lengthBytes);
      expect(["", "FLASH_ABORTED"]).toContain(code);
      expect(pending.landed(index)).toBe(code === "");
      if (code === "") bench.expectBytes(target, 0, index * 64, lengthBytes);
      else expect(target.every((byte) => byte === SENTINEL)).toBe(true);
    }
  };
  const submitMany = (reader: FlashReader, count: number, lengthBytes: number): PendingReads => {
    const batch = new ReadBatch(count);
    for (let index = 0; index < count; index++) {
      batch.push(0, index * 64, lengthBytes, { arenaId: ARENA_ID, offsetBytes: index * lengthBytes });
    }
    return reader.submit(batch, { priority: "speculative" });
  };

  test("cancel ends what has not started and lets the rest land", async () => {
    const reader = await openReader();
    const pending = submitMany(reader, 600, 4096);
    pending.cancel();
    pending.cancel();
    await pending.settled().catch((error: unknown) => expect(error).toMatchObject({ code: "FLASH_ABORTED" }));
    expectLandedOrUntouched(pending, 4096);
    pending.cancel();
    const next = submitMany(reader, 3, 4096);
    next.waitAll();
    expectLandedOrUntouched(next, 4096);
  });

  test("close ends every read that is out", async () => {
    const reader = await openReader();
    const pending = submitMany(reader, 400, 4096);
    await reader.close();
    expectLandedOrUntouched(pending, 4096);
  });
}

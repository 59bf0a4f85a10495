import { type FlashReader, type PendingReads, ReadBatch } from "@flashlm/contracts";
import {
  createFaultyReader,
  createMemoryReader,
  createSchedulingReader,
  createTracingReader,
  type SchedulingReader,
} from "@flashlm/flash-io";
import { expect, test } from "vitest";

const LENGTH = 512;
const COUNT = 100;
const contents = Uint8Array.from({ length: COUNT * LENGTH }, (_, index) => (index * 31) >> 4);

/** A reader whose reads end only when the test says so; `log` tells what was handed to it. */
class HeldReader {
  readonly log: string[] = [];
  readonly reader: FlashReader;
  isOpen = false;

  constructor(inner: FlashReader) {
    const traced = createTracingReader(inner, (read) =>
      this.log.push(`${read.priority === "demand" ? "d" : "s"}${read.offsetBytes / LENGTH}`),
    );
    const submit: FlashReader["submit"] = (batch, options) => this.hold(traced.submit(batch, options));
    this.reader = new Proxy(traced, {
      get: (target, name) => (name === "submit" ? submit : Reflect.get(target, name, target)),
    });
  }

  private hold(pending: PendingReads): PendingReads {
    return new Proxy(pending, {
      get: (target, name) => {
        if (name === "landed") return (index: number) => this.isOpen && target.landed(index);
        const member: unknown = Reflect.get(target, name, target);
        return typeof member === "function" ? member.bind(target) : member;
      },
    });
  }
}

async function setUp(
  most: number,
): Promise<{ held: HeldReader; reader: SchedulingReader; bytes: Uint8Array; submit: Submit }> {
  const held = new HeldReader(await createMemoryReader([{ path: "given", bytes: contents }]));
  const reader = createSchedulingReader(held.reader, { speculativeInFlightMax: most });
  const { handle, bytes } = reader.allocateTarget(contents.length);
  const submit: Submit = (indexes, options) => {
    const batch = new ReadBatch(indexes.length);
    for (const index of indexes) {
      batch.push(0, index * LENGTH, LENGTH, { ...handle, offsetBytes: handle.offsetBytes + index * LENGTH });
    }
    return reader.submit(batch, options);
  };
  return { held, reader, bytes, submit };
}

type Submit = (
  indexes: readonly number[],
  options?: Parameters<SchedulingReader["submit"]>[1],
) => PendingReads;
const GUESS = { priority: "speculative" } as const;

test("speculative reads start a few at a time, and never while demand is out", async () => {
  const { held, reader, submit } = await setUp(2);
  const guess = submit([0, 1, 2, 3], GUESS);
  expect(held.log).toEqual(["s0", "s1"]);
  const demand = submit([10, 11]);
  expect(held.log).toEqual(["s0", "s1", "d10", "d11"]);
  held.isOpen = true;
  held.log.length = 0;
  demand.waitAll();
  reader.pump();
  expect(held.log).toEqual(["s2", "s3"]);
  expect(guess.landed(3)).toBe(true);
  expect(reader.schedule()).toEqual({
    speculativeCount: 4,
    startedCount: 4,
    promotedCount: 0,
    cancelledCount: 0,
  });
  await reader.close();
});

test("demand that has landed, though nobody waited for it, no longer holds speculation up", async () => {
  const { held, reader, submit } = await setUp(8);
  submit([10]);
  const guess = submit([0], GUESS);
  expect(held.log).toEqual(["d10"]);
  held.isOpen = true;
  expect(guess.landed(0)).toBe(true);
  expect(held.log).toEqual(["d10", "s0"]);
  await reader.close();
});

test("waiting for speculative reads makes them demand", async () => {
  const { held, reader, submit, bytes } = await setUp(1);
  submit([50]);
  const guess = submit([0, 1, 2], GUESS);
  expect(guess.waitNext()).toBe(0);
  expect(held.log).toEqual(["d50", "d0", "d1", "d2"]);
  guess.waitAll();
  expect(Buffer.compare(bytes.subarray(0, 3 * LENGTH), contents.subarray(0, 3 * LENGTH))).toBe(0);
  expect(reader.schedule()).toMatchObject({ startedCount: 0, promotedCount: 3 });
  await reader.close();
});

test("a new epoch ends what has not started of the ones before", async () => {
  const { held, reader, submit } = await setUp(1);
  const stale = submit([0, 1], { ...GUESS, epoch: 1 });
  const fresh = submit([2], { ...GUESS, epoch: 2 });
  reader.beginEpoch(2);
  expect(() => stale.waitAll()).toThrow(
    expect.objectContaining({ code: "FLASH_ABORTED", details: expect.objectContaining({ readIndex: 1 }) }),
  );
  expect(stale.waitNext()).toBe(0);
  expect(() => stale.waitNext()).toThrow(expect.objectContaining({ code: "FLASH_ABORTED" }));
  expect(stale.waitNext()).toBe(-1);
  held.isOpen = true;
  fresh.waitAll();
  const late = submit([3], { ...GUESS, epoch: 1 });
  await expect(late.settled()).rejects.toMatchObject({ code: "FLASH_ABORTED" });
  expect(held.log).toEqual(["s0", "s2"]);
  expect(reader.schedule()).toEqual({
    speculativeCount: 4,
    startedCount: 2,
    promotedCount: 0,
    cancelledCount: 2,
  });
  await reader.close();
});

test("settled speculative reads go on without anyone's help, past failed ones", async () => {
  const faulty = createFaultyReader(await createMemoryReader([{ path: "given", bytes: contents }]), {
    seed: 5,
    errorRate: 0.3,
  });
  const reader = createSchedulingReader(faulty, { speculativeInFlightMax: 2 });
  const { handle } = reader.allocateTarget(contents.length);
  const batch = new ReadBatch(40);
  for (let index = 0; index < 40; index++) {
    batch.push(0, index * LENGTH, LENGTH, { ...handle, offsetBytes: handle.offsetBytes + index * LENGTH });
  }
  const pending = reader.submit(batch, GUESS);
  const error = await pending.settled().catch((cause: unknown) => cause);
  expect(error).toMatchObject({ code: "FLASH_IO" });
  const failed = [...Array(40).keys()].filter((index) => !pending.landed(index));
  expect(error).toMatchObject({ details: { readIndex: failed[0] } });
  expect(failed.length).toBeGreaterThan(3);
  await reader.close();
});

test("speculative batches are checked when they are submitted, and refused after close", async () => {
  const { reader, submit } = await setUp(1);
  expect(() => submit([COUNT], GUESS)).toThrow(expect.objectContaining({ code: "FLASH_OUT_OF_RANGE" }));
  expect(() => createSchedulingReader(reader, { speculativeInFlightMax: 0 })).toThrow(
    expect.objectContaining({ code: "FLASH_OUT_OF_RANGE" }),
  );
  await reader.close();
  expect(() => submit([0], GUESS)).toThrow(expect.objectContaining({ code: "FLASH_CLOSED" }));
});

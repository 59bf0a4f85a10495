import {
  FlashlmError,
  type ReadPlan,
  type ReadPlanner,
  TARGET_ANYWHERE,
  type WantedReads,
} from "@flashlm/contracts";
import { sortByKey } from "./sort-by-key.js";

/** Options of {@link createReadPlanner}; bytes. */
export interface ReadPlannerOptions {
  /** What the reader reads without a detour (`capabilities.alignmentBytes`): a power of two. */
  readonly alignmentBytes: number;
  /** Largest gap that is read along to save a request. Default 16 KiB: about what a device moves in the time one request costs. */
  readonly gapBytesMax?: number;
  /** Longest merged read before alignment. Default 1 MiB: longer reads are no faster and arrive later. */
  readonly readBytesMax?: number;
}

const GAP_BYTES_DEFAULT = 16 * 1024;
const READ_BYTES_DEFAULT = 1024 * 1024;

/**
 * A planner that sorts records by offset, merges neighbours and aligns. A read goes straight to its target only when its
 * records touch one another in the file as in the target and all is aligned; ends are rounded up but never past the file's end.
 * Two reads of a plan may share an alignment block.
 * @throws FLASH_OUT_OF_RANGE for a bad option; `plan` throws it for records outside the file or more than the plan holds.
 */
export function createReadPlanner(options: ReadPlannerOptions): ReadPlanner {
  const { alignmentBytes, gapBytesMax = GAP_BYTES_DEFAULT, readBytesMax = READ_BYTES_DEFAULT } = options;
  const isPowerOfTwo =
    Number.isInteger(alignmentBytes) && alignmentBytes > 0 && Number.isInteger(Math.log2(alignmentBytes));
  if (!isPowerOfTwo || !(gapBytesMax >= 0) || !(readBytesMax >= 1)) {
    throw new FlashlmError(
      "FLASH_OUT_OF_RANGE",
      `expected alignmentBytes to be a power of two, gapBytesMax at least 0 and readBytesMax at least 1, got ${alignmentBytes}, ${gapBytesMax}, ${readBytesMax}`,
      { alignmentBytes, gapBytesMax, readBytesMax },
    );
  }
  return new MergingPlanner(alignmentBytes, gapBytesMax, readBytesMax);
}

class MergingPlanner implements ReadPlanner {
  readonly contractVersion = 1;
  readonly alignmentBytes: number;
  readonly readBytesMax: number;
  private readonly gapBytesMax: number;

  constructor(alignmentBytes: number, gapBytesMax: number, readBytesMax: number) {
    this.alignmentBytes = alignmentBytes;
    this.gapBytesMax = gapBytesMax;
    this.readBytesMax = readBytesMax;
  }

  plan(wanted: WantedReads, fileSizeBytes: number, plan: ReadPlan): void {
    checkWanted(wanted, fileSizeBytes, plan);
    plan.readCount = 0;
    plan.stagingBytes = 0;
    plan.pieceCount = wanted.count;
    const order = plan.pieceWanted;
    for (let piece = 0; piece < wanted.count; piece++) order[piece] = piece;
    sortByKey(order, wanted.count, wanted.offsetBytes);
    let first = 0;
    while (first < wanted.count) first = this.planRead(wanted, fileSizeBytes, plan, first);
    plan.pieceStart[plan.readCount] = wanted.count;
  }

  /** Plans the read that begins with piece `first`; returns the first piece of the next one. */
  private planRead(wanted: WantedReads, fileSizeBytes: number, plan: ReadPlan, first: number): number {
    const firstWanted = plan.pieceWanted[first]!;
    const startBytes = wanted.offsetBytes[firstWanted]!;
    const targetBytes = wanted.targetOffsetBytes[firstWanted]!;
    let endBytes = startBytes + wanted.lengthBytes[firstWanted]!;
    let isContiguous = targetBytes !== TARGET_ANYWHERE;
    let next = first + 1;
    for (; next < wanted.count; next++) {
      const record = plan.pieceWanted[next]!;
      const offsetBytes = wanted.offsetBytes[record]!;
      const recordEnd = offsetBytes + wanted.lengthBytes[record]!;
      if (offsetBytes - endBytes > this.gapBytesMax || recordEnd - startBytes > this.readBytesMax) break;
      const target = wanted.targetOffsetBytes[record]!;
      isContiguous &&=
        offsetBytes === endBytes &&
        target !== TARGET_ANYWHERE &&
        target - targetBytes === offsetBytes - startBytes;
      if (recordEnd > endBytes) endBytes = recordEnd;
    }
    const { alignmentBytes } = this;
    const read = plan.readCount++;
    const alignedStart = startBytes - (startBytes % alignmentBytes);
    const alignedEnd = Math.min(Math.ceil(endBytes / alignmentBytes) * alignmentBytes, fileSizeBytes);
    const isDirect =
      isContiguous &&
      alignedStart === startBytes &&
      alignedEnd === endBytes &&
      endBytes % alignmentBytes === 0 &&
      targetBytes % alignmentBytes === 0;
    plan.readOffsetBytes[read] = alignedStart;
    plan.readLengthBytes[read] = alignedEnd - alignedStart;
    plan.readTargetOffsetBytes[read] = isDirect ? targetBytes : TARGET_ANYWHERE;
    plan.stagingOffsetBytes[read] = plan.stagingBytes;
    if (!isDirect) {
      const stagedBytes = Math.ceil((alignedEnd - alignedStart) / alignmentBytes) * alignmentBytes;
      plan.stagingBytes += stagedBytes;
    }
    plan.pieceStart[read] = first;
    for (let piece = first; piece < next; piece++) {
      plan.pieceOffsetBytes[piece] = wanted.offsetBytes[plan.pieceWanted[piece]!]! - alignedStart;
    }
    return next;
  }
}

function checkWanted(wanted: WantedReads, fileSizeBytes: number, plan: ReadPlan): void {
  if (wanted.count > wanted.capacity || wanted.count > plan.pieceWanted.length) {
    throw new FlashlmError(
      "FLASH_OUT_OF_RANGE",
      `${wanted.count} wanted records do not fit a plan of ${plan.pieceWanted.length}; make both with the same capacity`,
      { wantedCount: wanted.count, planCapacity: plan.pieceWanted.length },
    );
  }
  for (let index = 0; index < wanted.count; index++) {
    const offsetBytes = wanted.offsetBytes[index]!;
    const lengthBytes = wanted.lengthBytes[index]!;
    if (!(offsetBytes >= 0 && lengthBytes > 0 && offsetBytes + lengthBytes <= fileSizeBytes)) {
      throw new FlashlmError(
        "FLASH_OUT_OF_RANGE",
        `wanted record ${index} has ${lengthBytes} bytes at ${offsetBytes}; it must have at least one and lie within the ${fileSizeBytes} bytes of the file`,
        { index, offsetBytes, lengthBytes, fileSizeBytes },
      );
    }
  }
}

import {
  type DeviceProfile,
  FlashlmError,
  type ReadPlan,
  type ReadPlanner,
  TARGET_ANYWHERE,
  type WantedReads,
} from "@flashlm/contracts";
import { type DepthCost, RequestCosts } from "./request-cost.js";
import { sortByKey } from "./sort-by-key.js";

/** Options of {@link createReadPlanner}; bytes. */
export interface ReadPlannerOptions {
  /** What the reader reads without a detour (`capabilities.alignmentBytes`): a power of two. */
  readonly alignmentBytes: number;
  /**
   * Largest gap that is read along to save a request. Without a profile 16 KiB, about what a device moves in the time one
   * request costs; with one, what the profile says, and this is an upper limit.
   */
  readonly gapBytesMax?: number;
  /** Longest merged read before alignment. Default 1 MiB: longer reads are no faster and arrive later. */
  readonly readBytesMax?: number;
  /** What requests cost on the device, through the backend that will read. */
  readonly profile?: DeviceProfile;
  /** Reads in flight at once (`capabilities.inFlightMax`): says which depths of the profile count. Default 32. */
  readonly inFlightMax?: number;
}

const GAP_BYTES_DEFAULT = 16 * 1024;
const READ_BYTES_DEFAULT = 1024 * 1024;
const IN_FLIGHT_DEFAULT = 32;

/**
 * A planner that sorts records by offset, merges neighbours and aligns. With a device profile two records share a read where
 * that costs no more than two reads, gap and copies to their targets included, and reads end at the length that is best for so many
 * bytes; without one, gaps up to `gapBytesMax` are read. A read goes straight to its target only when its
 * records touch one another in the file as in the target and all is aligned; ends are rounded up but never past the file's end.
 * Two reads of a plan may share an alignment block. What it gains: bench/planner.mjs.
 * @throws FLASH_OUT_OF_RANGE for a bad option, FLASH_PROFILE_FORMAT for a profile without figures; `plan` throws FLASH_OUT_OF_RANGE for
 * records outside the file or more than the plan holds.
 */
export function createReadPlanner(options: ReadPlannerOptions): ReadPlanner {
  const {
    alignmentBytes,
    readBytesMax = READ_BYTES_DEFAULT,
    inFlightMax = IN_FLIGHT_DEFAULT,
    profile,
  } = options;
  const gapLimit = options.gapBytesMax ?? (profile ? Number.POSITIVE_INFINITY : GAP_BYTES_DEFAULT);
  const isPowerOfTwo =
    Number.isInteger(alignmentBytes) && alignmentBytes > 0 && Number.isInteger(Math.log2(alignmentBytes));
  if (!isPowerOfTwo || !(gapLimit >= 0) || !(readBytesMax >= 1) || !(inFlightMax >= 1)) {
    throw new FlashlmError(
      "FLASH_OUT_OF_RANGE",
      `expected alignmentBytes to be a power of two, gapBytesMax at least 0, readBytesMax and inFlightMax at least 1, got ${alignmentBytes}, ${gapLimit}, ${readBytesMax}, ${inFlightMax}`,
      { alignmentBytes, gapBytesMax: gapLimit, readBytesMax, inFlightMax },
    );
  }
  if (profile === undefined) return new MergingPlanner(alignmentBytes, gapLimit, readBytesMax, "defaults");
  const costs = new RequestCosts(profile, inFlightMax, readBytesMax);
  const basis = `device profile of ${profile.measuredAt.slice(0, 10)}`;
  return new MergingPlanner(
    alignmentBytes,
    Math.min(costs.gapBytesMax, gapLimit),
    readBytesMax,
    basis,
    costs,
  );
}

/** A read that grows record by record. Ends are in bytes of the file. */
interface GrowingRead {
  startBytes: number;
  endBytes: number;
  /** Place of its first record, or TARGET_ANYWHERE. */
  targetBytes: number;
  /** Records touch one another in the file as in the target. */
  isContiguous: boolean;
}

class MergingPlanner implements ReadPlanner {
  readonly contractVersion = 1;
  readonly alignmentBytes: number;
  readonly gapBytesMax: number;
  readonly readBytesMax: number;
  readonly basis: string;
  private readonly costs: RequestCosts | undefined;
  private readonly read: GrowingRead = { startBytes: 0, endBytes: 0, targetBytes: 0, isContiguous: false };
  private cost: DepthCost | undefined;
  private readLimitBytes: number;

  constructor(
    alignmentBytes: number,
    gapBytesMax: number,
    readBytesMax: number,
    basis: string,
    costs?: RequestCosts,
  ) {
    this.alignmentBytes = alignmentBytes;
    this.gapBytesMax = gapBytesMax;
    this.readBytesMax = readBytesMax;
    this.readLimitBytes = readBytesMax;
    this.basis = basis;
    this.costs = costs;
  }

  plan(wanted: WantedReads, fileSizeBytes: number, plan: ReadPlan): void {
    checkWanted(wanted, fileSizeBytes, plan);
    plan.readCount = 0;
    plan.stagingBytes = 0;
    plan.pieceCount = wanted.count;
    const order = plan.pieceWanted;
    for (let piece = 0; piece < wanted.count; piece++) order[piece] = piece;
    sortByKey(order, wanted.count, wanted.offsetBytes);
    if (this.costs !== undefined) this.weigh(this.costs, wanted);
    let first = 0;
    while (first < wanted.count) first = this.planRead(wanted, fileSizeBytes, plan, first);
    plan.pieceStart[plan.readCount] = wanted.count;
  }

  /** Takes what requests cost at this load, and where reads end. */
  private weigh(costs: RequestCosts, wanted: WantedReads): void {
    let totalBytes = 0;
    for (let index = 0; index < wanted.count; index++) totalBytes += wanted.lengthBytes[index]!;
    this.cost = costs.at(wanted.count);
    this.readLimitBytes = Math.min(this.readBytesMax, costs.readBytesFor(totalBytes));
  }

  /** Plans the read that begins with piece `first`; returns the first piece of the next one. */
  private planRead(wanted: WantedReads, fileSizeBytes: number, plan: ReadPlan, first: number): number {
    const { read } = this;
    const firstWanted = plan.pieceWanted[first]!;
    read.startBytes = wanted.offsetBytes[firstWanted]!;
    read.endBytes = read.startBytes + wanted.lengthBytes[firstWanted]!;
    read.targetBytes = wanted.targetOffsetBytes[firstWanted]!;
    read.isContiguous = read.targetBytes !== TARGET_ANYWHERE;
    let next = first + 1;
    for (; next < wanted.count; next++) {
      const record = plan.pieceWanted[next]!;
      const offsetBytes = wanted.offsetBytes[record]!;
      const recordEnd = offsetBytes + wanted.lengthBytes[record]!;
      const target = wanted.targetOffsetBytes[record]!;
      if (offsetBytes - read.endBytes > this.gapBytesMax) break;
      if (recordEnd - read.startBytes > this.readLimitBytes) break;
      const isContiguous =
        read.isContiguous &&
        offsetBytes === read.endBytes &&
        target !== TARGET_ANYWHERE &&
        target - read.targetBytes === offsetBytes - read.startBytes;
      if (this.cost !== undefined && !this.pays(this.cost, offsetBytes, recordEnd, target, isContiguous))
        break;
      read.isContiguous = isContiguous;
      if (recordEnd > read.endBytes) read.endBytes = recordEnd;
    }
    this.write(fileSizeBytes, plan, first);
    for (let piece = first; piece < next; piece++) {
      plan.pieceOffsetBytes[piece] =
        wanted.offsetBytes[plan.pieceWanted[piece]!]! - plan.readOffsetBytes[plan.readCount - 1]!;
    }
    return next;
  }

  /** True when one read of the growing read together with a record is cheaper than two, copies from the staging included. */
  private pays(
    cost: DepthCost,
    offsetBytes: number,
    recordEnd: number,
    target: number,
    isContiguous: boolean,
  ): boolean {
    const { read } = this;
    // Touching blocks: the longer read moves no byte more, so that it never costs more than its parts.
    if (isContiguous) return true;
    let copiedBytes = 0;
    if (this.isDirect(read.isContiguous, read.startBytes, read.endBytes, read.targetBytes))
      copiedBytes += read.endBytes - read.startBytes;
    if (this.isDirect(target !== TARGET_ANYWHERE, offsetBytes, recordEnd, target))
      copiedBytes += recordEnd - offsetBytes;
    return cost.mergePays(
      this.alignedBytes(read.startBytes, read.endBytes),
      this.alignedBytes(offsetBytes, recordEnd),
      this.alignedBytes(read.startBytes, Math.max(read.endBytes, recordEnd)),
      copiedBytes * this.costs!.copyMsPerByte,
    );
  }

  private alignedBytes(startBytes: number, endBytes: number): number {
    const { alignmentBytes } = this;
    return Math.ceil(endBytes / alignmentBytes) * alignmentBytes - startBytes + (startBytes % alignmentBytes);
  }

  private isDirect(
    isContiguous: boolean,
    startBytes: number,
    endBytes: number,
    targetBytes: number,
  ): boolean {
    const { alignmentBytes } = this;
    return (
      isContiguous &&
      startBytes % alignmentBytes === 0 &&
      endBytes % alignmentBytes === 0 &&
      targetBytes % alignmentBytes === 0
    );
  }

  /** Adds the grown read to the plan. */
  private write(fileSizeBytes: number, plan: ReadPlan, first: number): void {
    const { alignmentBytes } = this;
    const { startBytes, endBytes, targetBytes, isContiguous } = this.read;
    const read = plan.readCount++;
    const alignedStart = startBytes - (startBytes % alignmentBytes);
    const alignedEnd = Math.min(Math.ceil(endBytes / alignmentBytes) * alignmentBytes, fileSizeBytes);
    const isDirect = this.isDirect(isContiguous, startBytes, endBytes, targetBytes);
    plan.readOffsetBytes[read] = alignedStart;
    plan.readLengthBytes[read] = alignedEnd - alignedStart;
    plan.readTargetOffsetBytes[read] = isDirect ? targetBytes : TARGET_ANYWHERE;
    plan.stagingOffsetBytes[read] = plan.stagingBytes;
    if (!isDirect) {
      const stagedBytes = Math.ceil((alignedEnd - alignedStart) / alignmentBytes) * alignmentBytes;
      plan.stagingBytes += stagedBytes;
    }
    plan.pieceStart[read] = first;
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

import { type DeviceProfile, FlashlmError } from "@flashlm/contracts";

/** Reads within this of the fastest count as equally fast; less than what two measurements of one cell differ by. */
const EQUALLY_FAST = 1.05;

/**
 * What requests cost on a device while the queue holds one number of them: a piecewise linear function of their length,
 * through the measured points. Below the shortest measured length the cost stays the same, because a device reads whole
 * blocks; above the longest it grows with the bandwidth there.
 */
export class DepthCost {
  readonly depth: number;
  private readonly lengthBytes: readonly number[];
  private readonly ms: readonly number[];

  /** @param points - `[lengthBytes, ms]`, ascending by length, at least one. */
  constructor(depth: number, points: readonly (readonly [lengthBytes: number, ms: number])[]) {
    this.depth = depth;
    this.lengthBytes = points.map(([lengthBytes]) => lengthBytes);
    const ms = points.map((point) => point[1]);
    // A longer read is never the cheaper one: where noise says so, the shorter takes its cost.
    for (let index = ms.length - 2; index >= 0; index--) ms[index] = Math.min(ms[index]!, ms[index + 1]!);
    this.ms = ms;
  }

  /** Milliseconds that the device is busy with a request of this length: the time it adds to a full queue. */
  requestMs(lengthBytes: number): number {
    const last = this.ms.length - 1;
    if (lengthBytes <= this.lengthBytes[0]!) return this.ms[0]!;
    if (lengthBytes >= this.lengthBytes[last]!)
      return (this.ms[last]! * lengthBytes) / this.lengthBytes[last]!;
    let upper = 1;
    while (this.lengthBytes[upper]! < lengthBytes) upper++;
    const lowerBytes = this.lengthBytes[upper - 1]!;
    const share = (lengthBytes - lowerBytes) / (this.lengthBytes[upper]! - lowerBytes);
    return this.ms[upper - 1]! + share * (this.ms[upper]! - this.ms[upper - 1]!);
  }

  /** The longest request that costs at most `ms`. */
  lengthWithin(ms: number): number {
    const last = this.ms.length - 1;
    if (ms >= this.ms[last]!) return (this.lengthBytes[last]! * ms) / this.ms[last]!;
    let upper = 0;
    while (this.ms[upper]! <= ms) upper++;
    if (upper === 0) return 0;
    const lowerMs = this.ms[upper - 1]!;
    const share = (ms - lowerMs) / (this.ms[upper]! - lowerMs);
    const lowerBytes = this.lengthBytes[upper - 1]!;
    return lowerBytes + share * (this.lengthBytes[upper]! - lowerBytes);
  }
}

/** What a device profile says about requests, for the depths that a reader reaches. */
export class RequestCosts {
  /** No gap longer than this is worth reading between any two requests of up to `readBytesMax`. */
  readonly gapBytesMax: number;
  /** Milliseconds to copy one byte from the staging to its place. */
  readonly copyMsPerByte: number;
  private readonly rows: readonly DepthCost[];
  private readonly readChoices: readonly number[];
  private readonly inFlightMax: number;

  /** @throws FLASH_PROFILE_FORMAT when the profile has no figure for any depth up to `inFlightMax`. */
  constructor(profile: DeviceProfile, inFlightMax: number, readBytesMax: number) {
    const rows = profile.depths
      .filter((depth) => depth <= inFlightMax)
      .map((depth) => ({ depth, points: pointsOf(profile, depth) }))
      .filter((row) => row.points.length > 0);
    if (rows.length === 0) {
      throw new FlashlmError(
        "FLASH_PROFILE_FORMAT",
        `Expected a device profile with a speed for a depth of at most ${inFlightMax} but it has none. Measure the device again.`,
        { inFlightMax },
      );
    }
    this.rows = rows.map((row) => new DepthCost(row.depth, row.points));
    this.inFlightMax = inFlightMax;
    this.copyMsPerByte = 1000 / profile.copyBytesPerSecond;
    const choices = profile.chunkBytes.filter((chunkBytes) => chunkBytes <= readBytesMax);
    this.readChoices = choices.length > 0 ? choices : [readBytesMax];
    this.gapBytesMax = Math.min(largestGap(this.rows, this.readChoices), readBytesMax);
  }

  /** Costs while about `requestCount` requests are there to be read. */
  at(requestCount: number): DepthCost {
    let row = this.rows[0]!;
    for (const candidate of this.rows) if (candidate.depth <= requestCount) row = candidate;
    return row;
  }

  /**
   * Length at which so many bytes in a row are best cut: the longest that is as fast as any, since fewer requests take less
   * processor time. Few bytes are cut shorter, so that the queue is not empty.
   */
  readBytesFor(totalBytes: number): number {
    let bestMs = Number.POSITIVE_INFINITY;
    for (const lengthBytes of this.readChoices)
      bestMs = Math.min(bestMs, this.totalMs(totalBytes, lengthBytes));
    let best = this.readChoices[0]!;
    for (const lengthBytes of this.readChoices) {
      if (this.totalMs(totalBytes, lengthBytes) <= bestMs * EQUALLY_FAST) best = lengthBytes;
    }
    return best;
  }

  private totalMs(totalBytes: number, lengthBytes: number): number {
    const requestCount = Math.max(1, Math.ceil(totalBytes / lengthBytes));
    const cost = this.at(Math.min(requestCount, this.inFlightMax));
    return requestCount * cost.requestMs(Math.min(lengthBytes, totalBytes));
  }
}

function pointsOf(profile: DeviceProfile, depth: number): [number, number][] {
  return profile.cells.flatMap((cell): [number, number][] =>
    cell.depth === depth && cell.bytesPerSecond !== null
      ? [[cell.chunkBytes, (1000 * cell.chunkBytes) / cell.bytesPerSecond]]
      : [],
  );
}

/** Over all pairs of lengths: how far apart two requests may be for one to cost no more than both. */
function largestGap(rows: readonly DepthCost[], lengths: readonly number[]): number {
  let largest = 0;
  for (const row of rows) {
    for (const left of lengths) {
      for (const right of lengths) {
        const apartMs = row.requestMs(left) + row.requestMs(right);
        largest = Math.max(largest, Math.floor(row.lengthWithin(apartMs)) - left - right);
      }
    }
  }
  return largest;
}

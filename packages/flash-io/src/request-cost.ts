import { type DeviceProfile, FlashlmError } from "@flashlm/contracts";

/** Reads within this of the fastest count as equally fast; less than what two measurements of one cell differ by. */
const EQUALLY_FAST = 1.05;

/** Of the cost of a request, what a merge must save: predictions are no better than this, and a merge that saves nothing only reads more. */
const SAVING_SHARE = 0.25;

/**
 * What requests cost on a device while the queue holds one number of them: a piecewise linear function of their length,
 * through the measured points. Below the shortest measured length the cost stays the same, because a device reads whole
 * blocks; above the longest it grows with the bandwidth there.
 */
export class DepthCost {
  readonly depth: number;
  private readonly lengthBytes: readonly number[];
  private readonly measuredMs: readonly number[];
  private readonly ms: readonly number[];

  /** @param points - `[lengthBytes, ms]`, ascending by length, at least one. */
  constructor(depth: number, points: readonly (readonly [lengthBytes: number, ms: number])[]) {
    this.depth = depth;
    this.lengthBytes = points.map(([lengthBytes]) => lengthBytes);
    this.measuredMs = points.map((point) => point[1]);
    this.ms = withoutSpikes(this.lengthBytes, this.measuredMs);
  }

  /** Milliseconds that the device is busy with a request of this length: the time it adds to a full queue. Measuring errors are smoothed away. */
  requestMs(lengthBytes: number): number {
    return interpolate(this.lengthBytes, this.ms, lengthBytes);
  }

  /** The same as it was measured. */
  measuredRequestMs(lengthBytes: number): number {
    return interpolate(this.lengthBytes, this.measuredMs, lengthBytes);
  }

  /** True when one read instead of two (of `leftBytes` and `rightBytes`) saves enough, `extraMs` of other work counted in. */
  mergePays(leftBytes: number, rightBytes: number, togetherBytes: number, extraMs: number): boolean {
    const worthMs = this.requestMs(leftBytes) + (1 - SAVING_SHARE) * this.requestMs(rightBytes);
    return this.requestMs(togetherBytes) + extraMs <= worthMs;
  }

  /** The longest gap between two requests for which {@link mergePays} without extra work. */
  gapWorth(leftBytes: number, rightBytes: number): number {
    const worthMs = this.requestMs(leftBytes) + (1 - SAVING_SHARE) * this.requestMs(rightBytes);
    return Math.floor(this.lengthWithin(worthMs)) - leftBytes - rightBytes;
  }

  /** The longest request that costs at most `ms`. */
  private lengthWithin(ms: number): number {
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

/**
 * Noise makes single cells slow, hardly ever fast. A longer read is never the cheaper one, so a shorter one that seems dearer takes its cost; and
 * nothing costs more than the shorter reads that it could be cut into.
 */
function withoutSpikes(lengthBytes: readonly number[], measuredMs: readonly number[]): readonly number[] {
  const ms = [...measuredMs];
  for (let index = ms.length - 2; index >= 0; index--) ms[index] = Math.min(ms[index]!, ms[index + 1]!);
  for (let index = 1; index < ms.length; index++) {
    ms[index] = Math.min(ms[index]!, (ms[index - 1]! * lengthBytes[index]!) / lengthBytes[index - 1]!);
  }
  return ms;
}

function interpolate(lengths: readonly number[], ms: readonly number[], lengthBytes: number): number {
  const last = ms.length - 1;
  if (lengthBytes <= lengths[0]!) return ms[0]!;
  if (lengthBytes >= lengths[last]!) return (ms[last]! * lengthBytes) / lengths[last]!;
  let upper = 1;
  while (lengths[upper]! < lengthBytes) upper++;
  const lowerBytes = lengths[upper - 1]!;
  const share = (lengthBytes - lowerBytes) / (lengths[upper]! - lowerBytes);
  return ms[upper - 1]! + share * (ms[upper]! - ms[upper - 1]!);
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
    return requestCount * cost.measuredRequestMs(Math.min(lengthBytes, totalBytes));
  }
}

function pointsOf(profile: DeviceProfile, depth: number): [number, number][] {
  return profile.cells.flatMap((cell): [number, number][] =>
    cell.depth === depth && cell.bytesPerSecond !== null
      ? [[cell.chunkBytes, (1000 * cell.chunkBytes) / cell.bytesPerSecond]]
      : [],
  );
}

/** Over all pairs of lengths: how far apart two requests may be for one to pay. */
function largestGap(rows: readonly DepthCost[], lengths: readonly number[]): number {
  let largest = 0;
  for (const row of rows) {
    for (const left of lengths) {
      for (const right of lengths) largest = Math.max(largest, row.gapWorth(left, right));
    }
  }
  return largest;
}

import type { DeviceProfile } from "@flashlm/contracts";

/** What a forecast needs of a device profile. */
export type DeviceSpeed = Pick<
  DeviceProfile,
  "chunkBytes" | "depths" | "cells" | "sequential" | "copyBytesPerSecond"
>;

/** The largest of an ascending list that is at most `value`, and the one after it, with the position between them (0 to 1, by logarithm). */
function bracket(list: readonly number[], value: number): { low: number; high: number; share: number } {
  const first = list[0] ?? value;
  const last = list.at(-1) ?? value;
  if (value <= first) return { low: first, high: first, share: 0 };
  if (value >= last) return { low: last, high: last, share: 0 };
  const above = list.findIndex((entry) => entry > value);
  const low = list[above - 1]!;
  const high = list[above]!;
  return { low, high, share: Math.log(value / low) / Math.log(high / low) };
}

/**
 * Speed of a measured cell, or of a shorter read or fewer in flight where those were measured faster: noise makes cells slow, hardly ever
 * fast, and whoever may read more at once may read less. Null where none of these was measured.
 */
function cellBytesPerSecond(device: DeviceSpeed, chunkBytes: number, depth: number): number | null {
  const speeds = device.cells
    .filter((cell) => cell.chunkBytes <= chunkBytes && cell.depth <= depth)
    .flatMap(({ bytesPerSecond }) => bytesPerSecond ?? []);
  const isMeasured = device.cells.some(
    (cell) => cell.chunkBytes === chunkBytes && cell.depth === depth && cell.bytesPerSecond,
  );
  return isMeasured ? Math.max(...speeds) : null;
}

/**
 * Bytes per second of random reads of one length while `depth` of them are in flight: between measured cells by logarithm, beyond the
 * table as at its edge. Cells that were skipped count as the sequential speed.
 */
export function readBytesPerSecond(device: DeviceSpeed, chunkBytes: number, depth: number): number {
  const length = bracket(device.chunkBytes, chunkBytes);
  const queue = bracket(device.depths, depth);
  const at = (chunk: number, inFlight: number): number =>
    cellBytesPerSecond(device, chunk, inFlight) ?? device.sequential.bytesPerSecond;
  const mix = (a: number, b: number, share: number): number =>
    Math.exp((1 - share) * Math.log(a) + share * Math.log(b));
  const row = (chunk: number): number => mix(at(chunk, queue.low), at(chunk, queue.high), queue.share);
  const speed = mix(row(length.low), row(length.high), length.share);
  // Below the shortest measured length a device reads whole blocks all the same: requests per second stay.
  const shortest = device.chunkBytes[0] ?? chunkBytes;
  return chunkBytes < shortest ? (speed * chunkBytes) / shortest : speed;
}

/** Milliseconds from submitting some requests of one length until the last has landed; the queue holds at most `inFlightMax`. */
export function batchMs(
  device: DeviceSpeed,
  requestCount: number,
  requestBytes: number,
  inFlightMax: number,
): number {
  if (requestCount <= 0) return 0;
  const depth = Math.max(1, Math.min(requestCount, inFlightMax));
  const streamMs = (1000 * requestCount * requestBytes) / readBytesPerSecond(device, requestBytes, depth);
  // A batch takes at least as long as one request on its own.
  return Math.max(streamMs, (1000 * requestBytes) / readBytesPerSecond(device, requestBytes, 1));
}

/** Longest gap that is looked at: longer ones are never cheaper than a request. */
const GAP_BYTES_MAX = 256 * 1024;

/**
 * The longest gap between two reads of `lengthBytes` for which one read of all three costs the device less time than two reads, while `depth`
 * are in flight. To within an eighth.
 */
export function worthwhileGapBytes(device: DeviceSpeed, lengthBytes: number, depth: number): number {
  const requestMs = (bytes: number): number => bytes / readBytesPerSecond(device, bytes, depth);
  const apartMs = 2 * requestMs(lengthBytes);
  let gapBytes = 0;
  for (let next = 512; next <= GAP_BYTES_MAX; next *= 1.125) {
    if (requestMs(2 * lengthBytes + next) > apartMs) break;
    gapBytes = next;
  }
  return Math.floor(gapBytes);
}

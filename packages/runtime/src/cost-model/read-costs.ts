import { READ_BYTES_MAX } from "../read-into.js";

/** Requests of one length each. */
export interface Reads {
  readonly requestCount: number;
  readonly requestBytes: number;
}

/** Requests and bytes that so many misses, spread over a layer, are read with: neighbours closer than a gap are one request. */
export function missReads(
  missCount: number,
  neuronCount: number,
  strideBytes: number,
  alignmentBytes: number,
  gapBytesMax: number,
): Reads {
  if (missCount <= 0) return { requestCount: 0, requestBytes: 0 };
  const density = Math.min(1, missCount / neuronCount);
  const gapMax = Math.floor(gapBytesMax / strideBytes);
  // Gaps between random picks are geometric: P(gap of j) = density * (1 - density)^j.
  const apart = (1 - density) ** (gapMax + 1);
  let gapRecords = 0;
  for (let gap = 1, chance = density * (1 - density); gap <= gapMax; gap++, chance *= 1 - density)
    gapRecords += gap * chance;
  const requestCount = Math.max(1, missCount * apart);
  const payloadBytes = missCount * (1 + gapRecords) * strideBytes;
  const roundingBytes = strideBytes % alignmentBytes === 0 ? 0 : alignmentBytes;
  return cutReads(requestCount, payloadBytes / requestCount + roundingBytes);
}

function cutReads(requestCount: number, requestBytes: number): Reads {
  const pieceCount = Math.max(1, Math.ceil(requestBytes / READ_BYTES_MAX));
  return { requestCount: requestCount * pieceCount, requestBytes: requestBytes / pieceCount };
}

/** Chunks that such reads come in where staging is small, as `RecordStream` collects them. */
export function stagedChunks(
  { requestCount, requestBytes }: Reads,
  alignmentBytes: number,
  flightBytes: number,
): number {
  const stagedBytes = requestCount * (requestBytes + 2 * alignmentBytes);
  return Math.max(1, stagedBytes / Math.max(1, flightBytes - 4 * alignmentBytes));
}

/** Reads of bytes that lie together. */
export function streamReads(lengthBytes: number): Reads {
  return lengthBytes > 0 ? cutReads(1, lengthBytes) : { requestCount: 0, requestBytes: 0 };
}

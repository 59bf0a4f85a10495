import { batchMs } from "./device-costs.js";
import type { ForecastRequest } from "./forecast.js";
import { streamReads } from "./read-costs.js";

/** The device's time for a block that is read ahead: at the profile's speed, or at that of the rehearsal, which reads the model's own file and may only be too slow. */
export function blockMs({ device, kernel, reader }: ForecastRequest, lengthBytes: number): number {
  if (lengthBytes <= 0) return 0;
  const { requestCount, requestBytes } = streamReads(lengthBytes);
  const profiledMs = batchMs(device, requestCount, requestBytes, reader.inFlightMax);
  const rehearsed = kernel.engine?.sparse.blockBytesPerSecond ?? 0;
  return rehearsed > 0 ? Math.min(profiledMs, (1000 * lengthBytes) / rehearsed) : profiledMs;
}

/** What the processor does for reads of streamed blocks, and loses by them, while it computes. */
export function serveMs({ kernel, predictor }: ForecastRequest, lengthBytes: number): number {
  return predictor.dense ? 0 : lengthBytes * (kernel.engine?.sparse.blockMsPerByte ?? 0);
}

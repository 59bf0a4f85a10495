import { assert, FlashlmError, type PendingReads } from "@flashlm/contracts";
import type { Flight } from "./flight.js";

/** What became of the early reads of a layer. */
export interface EarlyOutcome {
  /** Records whose reads had not started when they were given up. */
  readonly cancelledCount: number;
  /** Bytes of reads that ended although none of their records was wanted. */
  readonly wastedBytes: number;
}

/** Of early reads that were all wanted. */
export const NOTHING_LOST: EarlyOutcome = { cancelledCount: 0, wastedBytes: 0 };

/**
 * Waits for the reads that hold a wanted record; then gives up the others. Those of them that the device works at must still end, since their
 * targets are theirs until then; those that have not started are not waited for.
 *
 * @param isWanted - by position of a record in the flight.
 * @param isLost - by position, filled: 1 where the record is not in its target. Never a wanted one.
 * @throws FLASH_* for a wanted record; an error of another one only loses it.
 */
export function awaitWanted(
  flight: Flight,
  isWanted: (record: number) => boolean,
  isLost: Uint8Array,
): EarlyOutcome {
  const { plan, pending } = flight;
  isLost.fill(0, 0, flight.count);
  if (!pending) return NOTHING_LOST;
  const isNeeded = (read: number): boolean => {
    for (let piece = plan.pieceStart[read]!; piece < plan.pieceStart[read + 1]!; piece++)
      if (isWanted(flight.wantedPosition[plan.pieceWanted[piece]!]!)) return true;
    return false;
  };
  let neededCount = 0;
  for (let read = 0; read < plan.readCount; read++) neededCount += isNeeded(read) ? 1 : 0;
  if (neededCount === plan.readCount) {
    pending.waitAll();
    return NOTHING_LOST;
  }
  while (neededCount > 0) if (isNeeded(nextEnded(pending, isNeeded))) neededCount--;
  giveUpOthers(pending);
  let cancelledCount = 0;
  let wastedBytes = 0;
  for (let read = 0; read < plan.readCount; read++) {
    if (isNeeded(read)) continue;
    if (pending.landed(read)) wastedBytes += plan.readLengthBytes[read]!;
    else {
      for (let piece = plan.pieceStart[read]!; piece < plan.pieceStart[read + 1]!; piece++) {
        isLost[flight.wantedPosition[plan.pieceWanted[piece]!]!] = 1;
        cancelledCount++;
      }
    }
  }
  return { cancelledCount, wastedBytes };
}

/** Index of the read that ended next, well or, where nobody needs it, badly. */
function nextEnded(pending: PendingReads, isNeeded: (read: number) => boolean): number {
  try {
    const read = pending.waitNext();
    assert(read >= 0, "every read that is needed ends");
    return read;
  } catch (error) {
    const read = FlashlmError.isInstance(error) ? error.details.readIndex : undefined;
    if (typeof read === "number" && !isNeeded(read)) return read;
    throw error;
  }
}

function giveUpOthers(pending: PendingReads): void {
  pending.cancel();
  try {
    pending.waitAll();
  } catch {
    // Given up, or failed where nobody needs it.
  }
}

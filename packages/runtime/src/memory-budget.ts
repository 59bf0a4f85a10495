import { type ByteCount, FlashlmError, type MemoryBudget, type MemoryReservation } from "@flashlm/contracts";

/**
 * A budget that refuses what does not fit. Reservations are bookkeeping: whoever reserves also allocates.
 *
 * @param limitBytes - most bytes that may be reserved at once.
 */
export function createMemoryBudget(limitBytes: ByteCount): MemoryBudget {
  const live = new Set<MemoryReservation>();
  const reserved = (): number => [...live].reduce((sum, entry) => sum + entry.lengthBytes, 0);
  const report = (): MemoryReservation[] => [...live].sort((a, b) => b.lengthBytes - a.lengthBytes);
  return {
    contractVersion: 1,
    limitBytes,
    reserve(owner, lengthBytes) {
      const freeBytes = limitBytes - reserved();
      if (lengthBytes > freeBytes) {
        const largest = report()
          .slice(0, 3)
          .map((entry) => `${entry.owner} ${entry.lengthBytes}`);
        throw new FlashlmError(
          "BUDGET_EXCEEDED",
          `Expected room for ${lengthBytes} bytes of ${owner} but ${freeBytes} of ${limitBytes} are free ` +
            `(largest owners: ${largest.join(", ")}). Give more memory or a shorter context.`,
          { owner, lengthBytes, freeBytes, limitBytes },
        );
      }
      const reservation: MemoryReservation = {
        owner,
        lengthBytes,
        release: () => {
          live.delete(reservation);
        },
      };
      live.add(reservation);
      return reservation;
    },
    freeBytes: () => limitBytes - reserved(),
    report: () => report().map(({ owner, lengthBytes }) => ({ owner, lengthBytes })),
  };
}

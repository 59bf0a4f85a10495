import type { PolicyView, ResidencyPolicy } from "@flashlm/contracts";
import { NO_SLOT } from "@flashlm/contracts";

/** Ages are told apart up to this many tokens; windows are tens of tokens, so older units are all equally stale. */
const AGE_MAX = 1023;

/** Scratch of one call; never read across calls. */
const countByAge: Uint32Array = new Uint32Array(AGE_MAX + 1);

/** Counts the slots that may be given up by age in tokens. Age 0, the current token, is never a victim. */
function countAges(view: PolicyView, token: number): void {
  const { unitBySlot, lastUsedToken, pinned, leased, slotCount } = view;
  countByAge.fill(0);
  for (let slot = 0; slot < slotCount; slot++) {
    const age = token - lastUsedToken[slot]!;
    if (age <= 0 || pinned[slot] === 1 || leased[slot] !== 0 || unitBySlot[slot] === NO_SLOT) continue;
    countByAge[Math.min(age, AGE_MAX)]!++;
  }
}

/**
 * Gives up the units that were named longest ago (so those outside the window first), never one of the current token:
 * a cache smaller than one token's demand then keeps a part of it instead of churning through all of it. Among units
 * named at the same token the lower slots go first; ages above 1023 tokens count as equal. Two linear passes, no allocation.
 * Victims are written in ascending slot order.
 */
export const windowPolicy: ResidencyPolicy = {
  name: "window",
  chooseVictims(view: PolicyView, token: number, neededCount: number, target: Uint32Array): number {
    const wantedCount = Math.min(neededCount, target.length);
    if (wantedCount <= 0) return 0;
    countAges(view, token);
    let lastAge = AGE_MAX;
    let olderCount = 0;
    while (lastAge > 1 && olderCount + countByAge[lastAge]! < wantedCount)
      olderCount += countByAge[lastAge--]!;
    let atLastAgeCount = wantedCount - olderCount;
    const { unitBySlot, lastUsedToken, pinned, leased, slotCount } = view;
    let victimCount = 0;
    for (let slot = 0; slot < slotCount && victimCount < wantedCount; slot++) {
      const age = token - lastUsedToken[slot]!;
      if (age < lastAge || pinned[slot] === 1 || leased[slot] !== 0 || unitBySlot[slot] === NO_SLOT) continue;
      if ((age === lastAge || lastAge === AGE_MAX) && atLastAgeCount-- <= 0) continue;
      target[victimCount++] = slot;
    }
    return victimCount;
  },
};

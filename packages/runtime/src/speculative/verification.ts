import type { TokenId } from "@flashlm/contracts";
import type { Engine } from "../engine.js";
import type { Distributions } from "./distributions.js";
import type { DraftSampling } from "./draft.js";
import { acceptOrReplace, drawToken } from "./rejection.js";

/**
 * Runs the sequence's last token and the drafted ones through the target at once, and decides which stay.
 *
 * @param sequence - prompt and tokens so far, of which the target has all but the last; the new ones are appended.
 * @returns how many drafted tokens stayed. One more than these was appended, drawn by the target, unless a stop token ended it.
 */
export async function verifyDraft(
  target: Engine,
  sequence: TokenId[],
  drafted: readonly TokenId[],
  windowTokens: number,
  { drafted: proposals, target: expected }: Distributions,
  { sampler, random, stopTokens }: DraftSampling,
): Promise<number> {
  const first = sequence.length - 1;
  await target.extend([sequence[first] as TokenId, ...drafted], first, windowTokens);
  for (let row = 0; row <= drafted.length; row++) {
    const { logitRowCount } = target.plan;
    if (row % logitRowCount === 0) await target.head(row, Math.min(logitRowCount, drafted.length + 1 - row));
    sampler.weigh(target.logits(row % logitRowCount), sequence, expected);
    const proposed = drafted[row];
    if (proposed === undefined) {
      sequence.push(drawToken(expected, random));
      return row;
    }
    const verdict = acceptOrReplace(proposed, proposals[row] as Float32Array, expected, random);
    sequence.push(verdict.token);
    if (!verdict.accepted) return row;
    if (stopTokens.includes(proposed)) return row + 1;
  }
  return drafted.length;
}

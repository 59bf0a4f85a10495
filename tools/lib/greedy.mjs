/** A run may leave the reference only where the two best logits of the reference are this close. */
export const MARGIN = 0.005;

/**
 * Compares greedy tokens with a reference run. `{ ok, steps, leftAt }`: steps that agree, and where an allowed parting happened.
 */
export function compareGreedy(tokens, reference) {
  const expected = reference.greedy;
  for (let step = 0; step < expected.length; step++) {
    if (tokens[step] === expected[step]) continue;
    const allowed = reference.margins[step] < MARGIN;
    return { ok: allowed && tokens.length === expected.length, steps: step, leftAt: step };
  }
  return { ok: tokens.length === expected.length, steps: expected.length, leftAt: null };
}

/** A pass's share counts by one in this many. */
const MEMORY_PASSES = 8;

/**
 * Which tokens of a verified draft enter the neuron window. Their neurons are read before it is known how many tokens will be accepted; the
 * paper ("LLM in a flash", its section on speculative decoding) lets the window end at alpha * (lambda + 1), alpha being the share of a
 * pass's lambda + 1 tokens that stay, so that neurons of rejected tokens do not crowd out the others. Here alpha is a running mean.
 */
export class WindowRule {
  #alpha = 1;

  /** How many of the pass's tokens enter the window; at least the first, which is certain. */
  windowTokens(passTokens: number): number {
    return Math.max(1, Math.min(passTokens, Math.round(this.#alpha * passTokens)));
  }

  /** Learns from a pass how many of its tokens stayed. */
  observe(keptTokens: number, passTokens: number): void {
    // A pass without drafted tokens says nothing.
    if (passTokens > 1) this.#alpha += (keptTokens / passTokens - this.#alpha) / MEMORY_PASSES;
  }
}

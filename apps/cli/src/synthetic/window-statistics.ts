/** How a set of neurons changes from token to token. Shares are of all neurons, means over tokens. */
export interface WindowStatistics {
  readonly share: number;
  /** In the union over the window, the current token included. */
  readonly unionShare: number;
  /** In the current token's set and in none of the window's others. */
  readonly freshShare: number;
}

/** @param flags - u8 `[tokenCount, neuronCount]`, 1 for a member, of consecutive tokens. @param windowTokens - at least 1. */
export function windowStatistics(
  flags: Uint8Array,
  neuronCount: number,
  windowTokens: number,
): WindowStatistics {
  const tokenCount = flags.length / neuronCount;
  let members = 0;
  let union = 0;
  let fresh = 0;
  for (let neuron = 0; neuron < neuronCount; neuron++) {
    let lastSeen = Number.NEGATIVE_INFINITY;
    for (let token = 0; token < tokenCount; token++) {
      const isMember = flags[token * neuronCount + neuron] === 1;
      if (token >= windowTokens - 1) {
        const seenBefore = token - lastSeen < windowTokens;
        if (isMember) members++;
        if (isMember || seenBefore) union++;
        if (isMember && !seenBefore) fresh++;
      }
      if (isMember) lastSeen = token;
    }
  }
  const total = Math.max(1, (tokenCount - windowTokens + 1) * neuronCount);
  return { share: members / total, unionShare: union / total, freshShare: fresh / total };
}

/** Exponent of a power law and how well it fits. */
export interface PopularityFit {
  /** How often the neuron of rank r is active falls like r to the power of minus this. */
  readonly exponent: number;
  /** Coefficient of determination on logarithmic axes. */
  readonly determination: number;
}

/** Fits the ranks from 2 to 30 %: above them neurons are active at nearly every token, below too seldom to be counted well. */
export function fitPopularity(activeTokens: Uint32Array): PopularityFit {
  const counts = Float64Array.from(activeTokens).sort().reverse();
  const xs: number[] = [];
  const ys: number[] = [];
  for (let rank = Math.floor(0.02 * counts.length); rank < 0.3 * counts.length; rank++) {
    if (counts[rank]! === 0) break;
    xs.push(Math.log(rank + 0.5));
    ys.push(Math.log(counts[rank]!));
  }
  const mean = (list: readonly number[]): number => list.reduce((sum, value) => sum + value, 0) / list.length;
  const [meanX, meanY] = [mean(xs), mean(ys)];
  let xx = 0;
  let xy = 0;
  let yy = 0;
  for (const [index, x] of xs.entries()) {
    const y = ys[index]! - meanY;
    xx += (x - meanX) ** 2;
    xy += (x - meanX) * y;
    yy += y * y;
  }
  return { exponent: -xy / xx, determination: (xy * xy) / (xx * yy) };
}

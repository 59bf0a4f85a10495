import { createHash } from "node:crypto";
import type { BundleIndex } from "@flashlm/contracts";

/** What is held out must be text of its own: of fewer windows it would be the neighbours of what is trained on, and flatter the head. */
const WINDOW_COUNT_MIN = 8;
/** Shorter windows than this have too little before most of their tokens. */
const WINDOW_TOKENS_MIN = 32;

/**
 * Windows of a text, spread evenly over it, so that a short training still sees all of it. Shorter than `windowTokens` where the limit does not
 * afford eight of those.
 */
export function spreadWindows(
  tokens: readonly number[],
  windowTokensMax: number,
  limitTokens: number,
): (readonly number[])[] {
  const eighth = Math.floor(Math.min(tokens.length, limitTokens) / WINDOW_COUNT_MIN);
  const windowTokens = Math.min(windowTokensMax, Math.max(WINDOW_TOKENS_MIN, eighth));
  if (tokens.length < windowTokens) return tokens.length > 1 ? [tokens.slice(0, limitTokens)] : [];
  const available = Math.floor(tokens.length / windowTokens);
  const wanted = Math.min(available, Math.max(1, Math.floor(limitTokens / windowTokens)));
  return Array.from({ length: wanted }, (_, index) => {
    const begin = Math.floor((index * available) / wanted) * windowTokens;
    return tokens.slice(begin, begin + windowTokens);
  });
}

/** Which recorded tokens train and which are held out: every eighth window, or where there are fewer than eight, every eighth run of 16 tokens. */
export function splitTokens(windows: readonly (readonly number[])[]): {
  readonly training: Uint32Array;
  readonly heldOut: Uint32Array;
} {
  const training: number[] = [];
  const heldOut: number[] = [];
  let token = 0;
  for (const [index, window] of windows.entries()) {
    for (let at = 0; at < window.length; at++) {
      const group = windows.length >= 8 ? index : token >>> 4;
      (group % 8 === 7 ? heldOut : training).push(token++);
    }
  }
  if (heldOut.length === 0) heldOut.push(...training.splice(Math.floor((training.length * 7) / 8)));
  return { training: Uint32Array.from(training), heldOut: Uint32Array.from(heldOut) };
}

/** Names weights, order of records and tokens: recordings of another one are of no use. */
export function recordingKey(bundle: BundleIndex, windows: readonly (readonly number[])[]): string {
  const hash = createHash("sha256");
  const { source, dtype, layers } = bundle.manifest;
  hash.update(`${source.contentHash} ${dtype}`);
  for (let layerIndex = 0; layerIndex < layers.length; layerIndex++)
    hash.update(bundle.neuronOrder(layerIndex));
  for (const window of windows) hash.update(Uint32Array.from([window.length, ...window]));
  return hash.digest("hex");
}

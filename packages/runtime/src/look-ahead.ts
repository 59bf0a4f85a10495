import { EarlyGuess, type EarlyReadsParts } from "./early-guess.js";
import type { Flight } from "./flight.js";

/** A layer's guesses stop when less than this share of the bytes read for them is used: then a busy device loses more time than waiting takes. */
const USED_SHARE_MIN = 0.5;
/** Share of the early records that are to be used: a layer's guesses are made surer until so many are, or as sure as the largest margin. */
const USED_SHARE_AIM = 0.9;
const MARGIN_MAX = 8;
/** Log odds by which a guess moves the margin of the next one, times how far its used share is from the aim. */
const MARGIN_STEP = 1;
/** How much one guess counts in a layer's used share. */
const SHARE_WEIGHT = 0.125;
/** Guesses of a layer before it is judged. */
const TRIAL_COUNT = 8;
/** Tokens that a layer goes without, the first time it is stopped and at most; doubled each time. */
const PAUSE_TOKENS_MIN = 16;
const PAUSE_TOKENS_MAX = 1024;

/** What became of early reads over the whole run. */
export interface LookAheadStats {
  readonly recordCount: number;
  readonly usedCount: number;
  /** Records whose reads were given up before they began, because the layer did not want them. */
  readonly cancelledCount: number;
  /** Bytes of reads that ended in vain. */
  readonly wastedBytes: number;
  /** Times that a layer was stopped because too much was read in vain. */
  readonly stopCount: number;
}

/** Where early reads are no guesses: all of them are used. */
export function allUsed(recordCount: number): LookAheadStats {
  return { recordCount, usedCount: recordCount, cancelledCount: 0, wastedBytes: 0, stopCount: 0 };
}

interface LayerRecord {
  margin: number;
  usedShare: number;
  guessCount: number;
  pauseTokens: number;
  pausedUntil: number;
}

/**
 * Reads records of the next layer before its input is known (a guess that the look-ahead head makes), straight into slots that the
 * cache lends. A guess decides what is read early, never what is computed. One layer's guess begins while those of the layer before still land, so
 * that the device does not run out of reads.
 */
export class LookAhead {
  readonly #cache: EarlyReadsParts["cache"];
  /** Layers take turns. */
  readonly #guesses: readonly EarlyGuess[];
  readonly #layers: readonly LayerRecord[];
  /** Guess that has landed and not ended. */
  #landed: EarlyGuess | null = null;
  #token = 0;
  #recordCount = 0;
  #usedCount = 0;
  #cancelledCount = 0;
  #wastedBytes = 0;
  #stopCount = 0;
  /** Milliseconds spent waiting for early reads, and on leases, plans and copies. */
  waitMs = 0;
  manageMs = 0;

  /** @param flights - for early reads alone, as many as guesses may be under way. */
  constructor(parts: EarlyReadsParts, flights: readonly Flight[]) {
    this.#cache = parts.cache;
    this.#guesses = flights.map((flight) => new EarlyGuess(parts, flight));
    this.#layers = parts.bundle.manifest.layers.map(() => ({
      margin: 0,
      usedShare: 1,
      guessCount: 0,
      pauseTokens: PAUSE_TOKENS_MIN,
      pausedUntil: 0,
    }));
  }

  /** Whether guesses for a layer are welcome: it has slots, its guesses have not been stopped, and fewer are under way than may be. */
  wants(layerIndex: number): boolean {
    const layer = this.#layers[layerIndex];
    return (
      layer !== undefined &&
      this.#turnOf(layerIndex).layerIndex < 0 &&
      this.#cache.slotCount(layerIndex) > 0 &&
      this.#token >= layer.pausedUntil
    );
  }

  /** How much surer than its threshold a guess for a layer must be, in log odds: the more, the more of what was read for it was in vain. */
  margin(layerIndex: number): number {
    return this.#layers[layerIndex]!.margin;
  }

  /** Starts reading the guessed neurons of a layer that have no slot yet. `ids` ascending, borrowed for the call. Never blocks. */
  guess(layerIndex: number, ids: Uint32Array, count: number): void {
    const start = performance.now();
    this.#turnOf(layerIndex).begin(layerIndex, ids, count);
    this.manageMs += performance.now() - start;
  }

  /**
   * Takes note of a layer's real neurons (`ids`, ascending, borrowed for the call), before they are asked for.
   *
   * @returns By neuron, not 0 where the record is being read early; borrowed until {@link end}. Null where none is.
   */
  expect(layerIndex: number, ids: Uint32Array, count: number): Uint8Array | null {
    const guess = this.#turnOf(layerIndex);
    return guess.layerIndex === layerIndex ? guess.expect(ids, count) : null;
  }

  /**
   * Waits for early reads of a layer's expected neurons, and gives up what has not begun of the others. {@link end} follows, when there is time.
   * @throws FLASH_*, BUNDLE_CHECKSUM.
   */
  async land(layerIndex: number): Promise<void> {
    const guess = this.#turnOf(layerIndex);
    if (guess.layerIndex !== layerIndex) return;
    const start = performance.now();
    const outcome = guess.await();
    this.#cancelledCount += outcome.cancelledCount;
    this.#wastedBytes += outcome.wastedBytes;
    const landed = performance.now();
    this.waitMs += landed - start;
    guess.place();
    this.#landed = guess;
    this.manageMs += performance.now() - landed;
    await guess.check();
  }

  /** Counts which early reads of the layer that landed last were right, and gives their slots back to the cache. */
  end(): void {
    if (!this.#landed) return;
    const start = performance.now();
    const { layerIndex } = this.#landed;
    const { recordCount, usedCount } = this.#landed.end();
    this.#landed = null;
    this.#judge(layerIndex, recordCount, usedCount);
    this.manageMs += performance.now() - start;
  }

  /** Lets the device go on with early reads that waited for others to end; to be called between computations. Never blocks. */
  pump(): void {
    for (const guess of this.#guesses) guess.pump();
  }

  /** The next token begins. */
  advanceToken(): void {
    this.#token++;
  }

  /** Gives up what is under way, after an abort or an error. */
  reset(): void {
    this.#landed = null;
    for (const guess of this.#guesses) guess.reset();
  }

  /** Records that were read, used or not. */
  get recordsRead(): number {
    return this.#recordCount - this.#cancelledCount;
  }

  stats(): LookAheadStats {
    return {
      recordCount: this.#recordCount,
      usedCount: this.#usedCount,
      cancelledCount: this.#cancelledCount,
      wastedBytes: this.#wastedBytes,
      stopCount: this.#stopCount,
    };
  }

  #turnOf(layerIndex: number): EarlyGuess {
    return this.#guesses[layerIndex % this.#guesses.length]!;
  }

  /** Counts the early records that are used, and stops a layer whose guesses are mostly wrong. */
  #judge(layerIndex: number, recordCount: number, usedCount: number): void {
    this.#recordCount += recordCount;
    this.#usedCount += usedCount;
    const layer = this.#layers[layerIndex]!;
    layer.guessCount++;
    const usedShare = usedCount / recordCount;
    const wanted = layer.margin + MARGIN_STEP * (USED_SHARE_AIM - usedShare);
    layer.margin = Math.min(MARGIN_MAX, Math.max(0, wanted));
    layer.usedShare += SHARE_WEIGHT * (usedShare - layer.usedShare);
    if (layer.guessCount < TRIAL_COUNT || layer.usedShare >= USED_SHARE_MIN) return;
    this.#stopCount++;
    layer.pausedUntil = this.#token + layer.pauseTokens;
    layer.pauseTokens = Math.min(PAUSE_TOKENS_MAX, 2 * layer.pauseTokens);
    layer.guessCount = 0;
    layer.usedShare = 1;
  }
}

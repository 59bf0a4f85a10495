import type {
  BundleIndex,
  KernelProgram,
  KernelSet,
  NeuronCache,
  SparsityPredictor,
} from "@flashlm/contracts";
import { BIAS_WORD_INDEX, type Flight } from "./flight.js";
import type { LookAhead } from "./look-ahead.js";
import type { RecordStream } from "./record-stream.js";
import type { Residency } from "./residency.js";
import { runBeside } from "./run-beside.js";
import type { RunState } from "./run-state.js";
import { TokenUnion } from "./token-union.js";

/** Everything a forward pass uses; made once by the engine. */
export interface ForwardParts {
  readonly bundle: BundleIndex;
  readonly kernels: KernelSet;
  readonly state: RunState;
  readonly residency: Residency;
  readonly records: RecordStream;
  readonly cache: NeuronCache;
  readonly predictor: SparsityPredictor;
  readonly dense: boolean;
  /** Early reads of the next layer's records; null where nothing guesses them. */
  readonly lookAhead: LookAhead | null;
  /** Whether they name what is computed then (`PredictorPart.lookAheadIsExact`). */
  readonly lookAheadIsExact: boolean;
  readonly embed: (tokens: ArrayLike<number>, tokenCount: number) => Promise<void> | void;
  /** Per layer, what comes before the FFN, in pieces. */
  readonly attentionPrograms: readonly (readonly KernelProgram[])[];
  /** Per layer, what joins the FFN's result to the residual stream; null where it has been added to that directly. */
  readonly joinPrograms: readonly (KernelProgram | null)[];
  readonly advanceToken: () => void;
  /** Throws when the caller wants the work to stop; called whenever something was computed, before more is read. */
  readonly checkAbort: () => void;
  /** Observes the FFN activations of a layer's chunk (calibration); absent in normal runs. */
  readonly onActivations?: (flight: Flight, tokenCount: number) => void;
}

/**
 * One pass through the layers: a single token when decoding, a chunk of tokens for a prompt or to verify a draft. The arithmetic per token
 * is the same in all (see `KernelOp`), so chunk sizes do not change answers. Leaves the residual stream in `state.hidden`.
 */
export class ForwardPass {
  readonly #parts: ForwardParts;
  readonly #union: TokenUnion;
  readonly #allIds: Uint32Array;
  readonly #guessMask: Uint8Array;
  /** Layer whose scores of this token the cache has been told already, or -1. */
  #foreseenLayer = -1;
  /** Layer whose neurons are those in `#union`, as an exact guess named them, and how many they are; or -1. */
  #knownLayer = -1;
  #knownCount = 0;
  /** Neurons computed so far, over all layers and tokens. */
  keptNeurons = 0;

  constructor(parts: ForwardParts) {
    this.#parts = parts;
    const { neuronCount } = parts.bundle.manifest.model.ffn;
    this.#union = new TokenUnion(neuronCount);
    this.#guessMask = new Uint8Array(parts.lookAhead ? neuronCount : 0);
    this.#allIds = Uint32Array.from({ length: neuronCount }, (_, id) => id);
  }

  /**
   * @param position - index in the sequence of the first token.
   * @param windowTokens - how many tokens, from the first on, enter the window: one when decoding, none of a prompt's chunk but the last, and
   * of drafted tokens those that are likely to stay.
   */
  async run(
    tokens: ArrayLike<number>,
    tokenCount: number,
    position: number,
    windowTokens: number = tokenCount === 1 ? 1 : 0,
  ): Promise<void> {
    const { bundle, state, residency, attentionPrograms, joinPrograms, embed, kernels, dense } = this.#parts;
    this.#parts.checkAbort();
    this.#knownLayer = -1;
    state.tokenCount[0] = tokenCount;
    state.position[0] = position;
    residency.startAt("attention.0");
    residency.pump();
    if (dense) this.#readAhead(-1);
    const embedding = embed(tokens, tokenCount);
    if (embedding) await embedding;
    for (let layerIndex = 0; layerIndex < attentionPrograms.length; layerIndex++) {
      await residency.need(`attention.${layerIndex}`);
      for (const piece of attentionPrograms[layerIndex]!) {
        await this.#runPumping(piece, () => this.#askKnown(layerIndex, windowTokens));
        this.#parts.checkAbort();
      }
      const join = joinPrograms[layerIndex];
      // Biases and norms of the FFN are in the same block.
      const isNeeded = bundle.manifest.model.ffn.bias || join;
      if (!isNeeded) residency.done(`attention.${layerIndex}`);
      await this.#feedForward(layerIndex, tokenCount, windowTokens);
      const joining = join ? kernels.run(join) : undefined;
      if (joining) await joining;
      if (isNeeded) residency.done(`attention.${layerIndex}`);
    }
    for (let token = 0; token < windowTokens; token++) this.#parts.advanceToken();
    if (dense) this.#readAhead(-1);
  }

  /** The layer's FFN, record chunk by record chunk: activations of hits while misses land, then the down projection in neuron order. */
  async #feedForward(layerIndex: number, tokenCount: number, windowTokens: number): Promise<void> {
    const { records, dense, lookAhead } = this.#parts;
    let guess: (() => void) | null = null;
    if (!dense) guess = await this.#ask(layerIndex, tokenCount, windowTokens);
    else {
      if (records.lastOpenLayer < layerIndex)
        records.begin(layerIndex, this.#allIds, this.#allIds.length, windowTokens > 0 ? "window" : "none");
      this.keptNeurons += tokenCount * this.#allIds.length;
    }
    for (let first = true, last = false; !last; first = false) {
      if (dense) this.#readAhead(layerIndex);
      const flight = records.next();
      if (!flight) break;
      last = flight.last;
      flight.words[2] = flight.count;
      this.#pointAtBiases(flight);
      await this.#activate(flight, 0, flight.readyCount, tokenCount, guess);
      guess = null;
      if (first && !dense) await lookAhead?.land(layerIndex);
      await records.land(flight);
      await this.#activate(flight, flight.readyCount, flight.count, tokenCount);
      this.#parts.onActivations?.(flight, tokenCount);
      await this.#runPumping(last ? flight.lastDown : flight.down);
      this.#parts.checkAbort();
      records.finish(flight);
    }
  }

  /** Runs a program while the device is given what early reads still wait for it. @param also - what else there is to do then. */
  async #runPumping(program: KernelProgram, also?: () => void): Promise<void> {
    const { kernels, lookAhead } = this.#parts;
    if (lookAhead) {
      return runBeside(kernels, program, () => {
        lookAhead.pump();
        also?.();
      });
    }
    const running = kernels.run(program);
    if (running) await running;
  }

  /** Biases are resident with the layer's attention, whose place may change from token to token. */
  #pointAtBiases(flight: Flight): void {
    const { bundle, residency } = this.#parts;
    if (!bundle.manifest.model.ffn.bias) return;
    for (const [index, part] of ["gate", "up", "down"].entries()) {
      const name = `layers.${flight.layerIndex}.ffn.${part}.bias`;
      if (bundle.hasTensor(name))
        flight.words[BIAS_WORD_INDEX + index] = residency.address(
          `attention.${flight.layerIndex}`,
          bundle.tensor(name),
        );
    }
  }

  /** @param meanwhile - what else there is to do. */
  async #activate(
    flight: Flight,
    orderBegin: number,
    orderEnd: number,
    tokenCount: number,
    meanwhile: (() => void) | null = null,
  ): Promise<void> {
    if (orderBegin === orderEnd) return meanwhile?.();
    flight.words[0] = orderBegin;
    flight.words[1] = orderEnd;
    const masked = tokenCount > 1 && !this.#parts.dense;
    const program = masked ? flight.maskedActivations : flight.activations;
    if (meanwhile) return runBeside(this.#parts.kernels, program, meanwhile);
    const running = this.#parts.kernels.run(program);
    if (running) await running;
  }

  /** Predicts the layer's neurons and asks for their records. Returns what asks for those of the next layer as far as they can be guessed; it runs no program. */
  async #ask(layerIndex: number, tokenCount: number, windowTokens: number): Promise<(() => void) | null> {
    const { cache, kernels, lookAhead, predictor, records, residency, state } = this.#parts;
    await residency.need(`predictor.${layerIndex}`);
    const program = predictor.scoreProgram(layerIndex);
    const scoring = program ? kernels.run(program) : undefined;
    if (scoring) await scoring;
    this.#parts.checkAbort();
    if (records.lastOpenLayer < layerIndex) {
      this.keptNeurons += predictor.predictInto(layerIndex, tokenCount, { mask: state.mask.bytes });
      const count = this.#union.of(state.mask.bytes, tokenCount, windowTokens);
      const isToldAlready = this.#foreseenLayer === layerIndex;
      const scores = tokenCount === 1 && !isToldAlready ? predictor.scores?.(layerIndex) : undefined;
      if (scores) cache.foresee?.(layerIndex, scores);
      const { ids, steps } = this.#union;
      const early = lookAhead?.expect(layerIndex, ids, count) ?? null;
      if (!cache.guessesOverlap) await lookAhead?.land(layerIndex);
      if (windowTokens > 0 && tokenCount > 1) records.begin(layerIndex, ids, count, "window", { steps });
      else records.begin(layerIndex, ids, count, windowTokens > 0 ? "window" : "none", { early });
    }
    this.#foreseenLayer = -1;
    let guess: (() => void) | null = null;
    if (tokenCount === 1 && lookAhead?.wants(layerIndex + 1)) {
      const ahead = predictor.lookAheadProgram?.(layerIndex);
      const scoringAhead = ahead ? kernels.run(ahead) : undefined;
      if (scoringAhead) await scoringAhead;
      guess = () => this.#guess(lookAhead, layerIndex);
    }
    residency.done(`predictor.${layerIndex}`);
    return guess;
  }

  /** Where the guess of a single token's neurons is what they are, their records are asked for before its attention has been computed. */
  #askKnown(layerIndex: number, windowTokens: number): void {
    if (this.#knownLayer !== layerIndex) return;
    const { lookAhead, records } = this.#parts;
    const { ids } = this.#union;
    const count = this.#knownCount;
    this.#knownLayer = -1;
    this.keptNeurons += count;
    const early = lookAhead?.expect(layerIndex, ids, count) ?? null;
    records.begin(layerIndex, ids, count, windowTokens > 0 ? "window" : "none", { early });
  }

  /** Behind this layer's demand, reads for the next one, which go on while this FFN and the next attention are computed. */
  #guess(lookAhead: LookAhead, layerIndex: number): void {
    const { cache, predictor } = this.#parts;
    predictor.lookAheadInto?.(layerIndex, 1, { mask: this.#guessMask }, lookAhead.margin(layerIndex + 1));
    const scores = predictor.lookAheadScores?.(layerIndex);
    if (scores) cache.foresee?.(layerIndex + 1, scores);
    this.#foreseenLayer = this.#parts.lookAheadIsExact ? layerIndex + 1 : -1;
    const count = this.#union.of(this.#guessMask, 1, 0);
    const isExact = this.#parts.lookAheadIsExact && lookAhead.margin(layerIndex + 1) === 0;
    lookAhead.guess(layerIndex + 1, this.#union.ids, count);
    if (!isExact || !cache.guessesOverlap) return;
    this.#knownLayer = layerIndex + 1;
    this.#knownCount = count;
  }

  /** Dense runs know every layer's neurons beforehand: begin the layers after `layerIndex` while flights are free. */
  #readAhead(layerIndex: number): void {
    const { records, attentionPrograms } = this.#parts;
    let next = Math.max(records.lastOpenLayer, layerIndex) + 1;
    while (records.idle && next < attentionPrograms.length)
      records.begin(next++, this.#allIds, this.#allIds.length, "window");
  }
}

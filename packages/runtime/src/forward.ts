import type {
  BundleIndex,
  KernelProgram,
  KernelSet,
  NeuronCache,
  SparsityPredictor,
} from "@flashlm/contracts";
import { FfnBiases } from "./ffn-biases.js";
import type { Flight } from "./flight.js";
import type { LookAhead } from "./look-ahead.js";
import { NeuronDemand } from "./neuron-demand.js";
import type { RecordStream } from "./record-stream.js";
import type { Residency } from "./residency.js";
import { runBeside } from "./run-beside.js";
import type { RunState } from "./run-state.js";

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
  /** Whether a layer names what the next one computes (`PredictorPart.lookAheadIsExact`): its records are asked for then, and nothing is guessed. */
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
  readonly #demand: NeuronDemand;
  readonly #biases: FfnBiases;
  readonly #allIds: Uint32Array;
  #denseNeurons = 0;
  /** A layer's last chunk that has been computed but not ended: that is done beside the next program. */
  #computed: Flight | null = null;

  constructor(parts: ForwardParts) {
    this.#parts = parts;
    const { neuronCount } = parts.bundle.manifest.model.ffn;
    this.#demand = new NeuronDemand(parts);
    this.#biases = new FfnBiases(parts.bundle, parts.residency);
    this.#allIds = Uint32Array.from({ length: neuronCount }, (_, id) => id);
  }

  /** Neurons computed so far, over all layers and tokens. */
  get keptNeurons(): number {
    return this.#denseNeurons + this.#demand.namedNeurons;
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
    this.#computed = null;
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
        const running = this.#runBesideReads(piece);
        if (running) await running;
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
    this.#finishComputed();
    for (let token = 0; token < windowTokens; token++) this.#parts.advanceToken();
    if (dense) this.#readAhead(-1);
  }

  /** The layer's FFN, record chunk by record chunk: activations of hits while misses land, then the down projection in neuron order. */
  async #feedForward(layerIndex: number, tokenCount: number, windowTokens: number): Promise<void> {
    const { records, dense } = this.#parts;
    let guess: (() => void) | null = null;
    if (!dense) guess = await this.#demand.ask(layerIndex, tokenCount, windowTokens);
    else {
      if (records.lastOpenLayer < layerIndex)
        records.begin(layerIndex, this.#allIds, this.#allIds.length, windowTokens > 0 ? "window" : "none");
      this.#denseNeurons += tokenCount * this.#allIds.length;
    }
    for (let first = true, last = false; !last; first = false) {
      if (dense) this.#readAhead(layerIndex);
      const flight = records.next();
      if (!flight) break;
      last = flight.last;
      flight.words[2] = flight.count;
      this.#biases.pointAt(flight);
      if (this.#isWhole(flight, tokenCount)) await this.#computeWhole(flight, tokenCount, guess);
      else await this.#computeLanding(flight, tokenCount, guess, first && !dense);
      guess = null;
      this.#parts.checkAbort();
      if (last && !dense) this.#computed = flight;
      else records.finish(flight);
    }
  }

  /** Whether nothing is awaited for a chunk, and every token wants all of its neurons. */
  #isWhole(flight: Flight, tokenCount: number): boolean {
    const { dense, lookAhead, records } = this.#parts;
    return flight.count > 0 && (dense || tokenCount === 1) && !lookAhead && records.hasLanded(flight);
  }

  /** @param meanwhile - what else there is to do. */
  async #computeWhole(flight: Flight, tokenCount: number, meanwhile: (() => void) | null): Promise<void> {
    await this.#parts.records.land(flight);
    const program = flight.last ? flight.lastFeedForward : flight.feedForward;
    await this.#computeOrder(flight, 0, flight.count, program, meanwhile);
    this.#parts.onActivations?.(flight, tokenCount);
  }

  /** A chunk some of whose records are on their way: hits first. @param isFirst - of its layer, for which some may have been read early on a guess. */
  async #computeLanding(
    flight: Flight,
    tokenCount: number,
    meanwhile: (() => void) | null,
    isFirst: boolean,
  ): Promise<void> {
    const { dense, kernels, lookAhead, onActivations, records } = this.#parts;
    const program = tokenCount > 1 && !dense ? flight.maskedActivations : flight.activations;
    await this.#computeOrder(flight, 0, flight.readyCount, program, meanwhile);
    if (isFirst) await lookAhead?.land(flight.layerIndex);
    await records.land(flight);
    await this.#computeOrder(flight, flight.readyCount, flight.count, program, null);
    onActivations?.(flight, tokenCount);
    const down = flight.last ? flight.lastDown : flight.down;
    // While guesses are read, every look at them lets the device go on.
    const running = lookAhead ? this.#runBesideReads(down) : kernels.run(down);
    if (running) await running;
  }

  #finishComputed(): void {
    this.#parts.lookAhead?.end();
    if (this.#computed) this.#parts.records.finish(this.#computed);
    this.#computed = null;
  }

  /** Runs a program; meanwhile the device is given what waits for it, what has landed is put where it belongs, and what has been computed is ended. */
  #runBesideReads(program: KernelProgram): void | Promise<void> {
    const { kernels, lookAhead, records } = this.#parts;
    if (this.#computed || lookAhead || records.isReading) {
      return runBeside(kernels, program, () => {
        this.#finishComputed();
        lookAhead?.pump();
        records.placeLanded();
      });
    }
    return kernels.run(program);
  }

  /** Runs a program over a part of a flight's order. @param meanwhile - what else there is to do. */
  async #computeOrder(
    flight: Flight,
    orderBegin: number,
    orderEnd: number,
    program: KernelProgram,
    meanwhile: (() => void) | null,
  ): Promise<void> {
    if (orderBegin === orderEnd) return meanwhile?.();
    flight.words[0] = orderBegin;
    flight.words[1] = orderEnd;
    const { kernels } = this.#parts;
    const running = meanwhile ? runBeside(kernels, program, meanwhile) : kernels.run(program);
    if (running) await running;
  }

  /** Dense runs know every layer's neurons beforehand: begin the layers after `layerIndex` while flights are free. */
  #readAhead(layerIndex: number): void {
    const { records, attentionPrograms } = this.#parts;
    let next = Math.max(records.lastOpenLayer, layerIndex) + 1;
    while (records.idle && next < attentionPrograms.length)
      records.begin(next++, this.#allIds, this.#allIds.length, "window");
  }
}

import type {
  BundleIndex,
  KernelProgram,
  KernelSet,
  NeuronCache,
  SparsityPredictor,
} from "@flashlm/contracts";
import { BIAS_WORD_INDEX, type Flight } from "./flight.js";
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
  readonly #allIds: Uint32Array;
  #denseNeurons = 0;
  /** A layer's last chunk that has been computed but not ended: that is done beside the next program. */
  #computed: Flight | null = null;

  constructor(parts: ForwardParts) {
    this.#parts = parts;
    const { neuronCount } = parts.bundle.manifest.model.ffn;
    this.#demand = new NeuronDemand(parts);
    this.#allIds = Uint32Array.from({ length: neuronCount }, (_, id) => id);
  }

  /** Records that a layer has read for the next one, where it names what that computes; null where it does not. */
  get recordsAhead(): number | null {
    return this.#parts.lookAheadIsExact ? this.#demand.aheadCount : null;
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
        await this.#runBesideReads(piece);
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
    const { records, dense, lookAhead } = this.#parts;
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
      this.#pointAtBiases(flight);
      await this.#activate(flight, 0, flight.readyCount, tokenCount, guess);
      guess = null;
      if (first && !dense) await lookAhead?.land(layerIndex);
      await records.land(flight);
      await this.#activate(flight, flight.readyCount, flight.count, tokenCount);
      this.#parts.onActivations?.(flight, tokenCount);
      await this.#runBesideReads(last ? flight.lastDown : flight.down);
      this.#parts.checkAbort();
      if (last && !dense) this.#computed = flight;
      else records.finish(flight);
    }
  }

  #finishComputed(): void {
    this.#parts.lookAhead?.end();
    if (this.#computed) this.#parts.records.finish(this.#computed);
    this.#computed = null;
  }

  /** Runs a program; meanwhile the device is given what waits for it, what has landed is put where it belongs, and what has been computed is ended. */
  async #runBesideReads(program: KernelProgram): Promise<void> {
    const { kernels, lookAhead, records } = this.#parts;
    if (this.#computed || lookAhead || records.isReading) {
      return runBeside(kernels, program, () => {
        this.#finishComputed();
        lookAhead?.pump();
        records.placeLanded();
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

  /** Dense runs know every layer's neurons beforehand: begin the layers after `layerIndex` while flights are free. */
  #readAhead(layerIndex: number): void {
    const { records, attentionPrograms } = this.#parts;
    let next = Math.max(records.lastOpenLayer, layerIndex) + 1;
    while (records.idle && next < attentionPrograms.length)
      records.begin(next++, this.#allIds, this.#allIds.length, "window");
  }
}

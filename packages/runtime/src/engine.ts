import {
  FlashlmError,
  type GenerateOptions,
  type GeneratorReport,
  type MetricsSink,
  type TokenEvent,
  type TokenGenerator,
  type TokenId,
} from "@flashlm/contracts";
import { assembleEngine, type Machine } from "./assemble.js";
import { DecodeMeter, recordsReadOf } from "./decode-meter.js";
import { type EngineOptions, type EngineParts, WINDOW_TOKENS } from "./engine-options.js";
import type { MemoryPlan } from "./memory-plan.js";
import { planEngine } from "./plan-engine.js";
import { REPETITION_WINDOW_TOKENS } from "./sampling/index.js";

/**
 * Makes an engine on the calling thread, which will block on reads while it works: give it a thread of its own
 * (`hostGenerator`). Loads the resident weights.
 */
export async function createEngine(parts: EngineParts, options: EngineOptions): Promise<TokenGenerator> {
  return openEngine(parts, options);
}

/** {@link createEngine}, with what drives an engine step by step. */
export async function openEngine(parts: EngineParts, options: EngineOptions): Promise<Engine> {
  const machine = await assembleEngine(parts, options, planEngine(parts, options));
  return new Engine(parts, machine, options.metrics);
}

/** The generator of one model. `enter`, `prompt`, `extend`, `logits`, `measure` and `leave` are its steps, from which speculation builds another loop. */
export class Engine implements TokenGenerator {
  readonly contractVersion = 1;
  readonly #parts: EngineParts;
  readonly #machine: Machine;
  readonly #meter: DecodeMeter;
  #busy = false;
  #closed = false;
  #promptTokens = 0;
  #promptMs = 0;
  #possibleNeurons = 0;

  constructor(parts: EngineParts, machine: Machine, metrics: MetricsSink | undefined) {
    this.#parts = parts;
    this.#machine = machine;
    this.#meter = new DecodeMeter(machine, metrics);
  }

  get mode(): Readonly<Record<string, string>> {
    return this.#machine.mode;
  }

  get contextLength(): number {
    return this.#machine.plan.contextLength;
  }

  get plan(): MemoryPlan {
    return this.#machine.plan;
  }

  get vocabularySize(): number {
    return this.#parts.bundle.manifest.model.vocabularySize;
  }

  async *generate(promptTokens: readonly TokenId[], options: GenerateOptions): AsyncIterable<TokenEvent> {
    // Before the engine counts as busy: it may refuse its options.
    const sampler = this.#parts.createSampler(options.sampling, this.vocabularySize);
    this.enter(promptTokens, promptTokens.length + options.maxTokens);
    const recent = promptTokens.slice(-REPETITION_WINDOW_TOKENS);
    let finished = false;
    try {
      const start = performance.now();
      await this.prompt(promptTokens);
      let position = promptTokens.length;
      for (let count = 0; count < options.maxTokens; count++) {
        options.signal?.throwIfAborted();
        const began = performance.now();
        const tokenId = sampler.next(this.logits(0), recent);
        if (options.stopTokens.includes(tokenId)) break;
        recent.push(tokenId);
        if (recent.length > REPETITION_WINDOW_TOKENS) recent.shift();
        const more = count + 1 < options.maxTokens && position < this.contextLength;
        yield { tokenId, positionIndex: position, elapsedMs: began - start };
        if (!more) break;
        await this.#decode(tokenId, position++);
      }
      finished = true;
    } finally {
      this.leave(finished);
    }
  }

  async evaluate(
    tokens: readonly TokenId[],
    onLogits: (rows: Float32Array, firstRow: number) => void,
  ): Promise<void> {
    this.enter(tokens, tokens.length);
    const { plan, state, head } = this.#machine;
    const { vocabularySize } = this;
    let finished = false;
    try {
      const start = performance.now();
      for (let begin = 0; begin < tokens.length; begin += plan.tokenCapacity) {
        const chunk = tokens.slice(begin, begin + plan.tokenCapacity);
        await this.extend(chunk, begin);
        for (let row = 0; row < chunk.length; row += plan.logitRowCount) {
          const rowCount = Math.min(plan.logitRowCount, chunk.length - row);
          await head(row, rowCount);
          onLogits(state.logits.floats.subarray(0, rowCount * vocabularySize), begin + row);
        }
      }
      this.#promptTokens += tokens.length;
      this.#promptMs += performance.now() - start;
      finished = true;
    } finally {
      this.leave(finished);
    }
  }

  async score(tokens: readonly TokenId[]): Promise<Float64Array> {
    const { vocabularySize } = this;
    const losses = new Float64Array(tokens.length);
    await this.evaluate(tokens, (rows, firstRow) => {
      for (let row = 0; row * vocabularySize < rows.length; row++) {
        const target = tokens[firstRow + row + 1];
        if (target !== undefined)
          losses[firstRow + row + 1] = lossOf(
            rows.subarray(row * vocabularySize, (row + 1) * vocabularySize),
            target,
          );
      }
    });
    return losses;
  }

  report(): GeneratorReport {
    const { forward, lookAheadStats, reader, plan, loadReadBytes } = this.#machine;
    const early = lookAheadStats();
    const decode = this.#meter.totals;
    return {
      promptTokens: this.#promptTokens,
      promptMs: this.#promptMs,
      decodeTokens: decode.tokenCount,
      decodeMs: decode.tokenMs,
      ioWaitMs: decode.waitMs,
      cacheMs: decode.manageMs,
      computeMs: decode.tokenMs - decode.waitMs - decode.manageMs,
      readBytes: reader.stats().readBytes,
      loadReadBytes,
      decodeReadBytes: decode.readBytes,
      recordCount: decode.hitCount + decode.missCount,
      hitCount: decode.hitCount,
      decodeRecordsRead: decode.recordsRead,
      recordsRead: recordsReadOf(this.#machine),
      keptNeurons: forward.keptNeurons,
      possibleNeurons: this.#possibleNeurons,
      ...(early ? { lookAhead: early } : {}),
      memory: plan.rows,
    };
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#machine.close();
  }

  /** Begins a sequence: the engine is busy until {@link leave}. `lengthMax` is how many tokens it will have at most. */
  enter(tokens: readonly TokenId[], lengthMax: number): void {
    const { vocabularySize } = this;
    if (this.#closed)
      throw new FlashlmError(
        "ENGINE_CLOSED",
        "Expected an open engine but it has been closed. Make a new one.",
      );
    if (this.#busy)
      throw new FlashlmError(
        "ENGINE_BUSY",
        "Expected one generation at a time but another one is running. Wait for it or make a second engine.",
      );
    if (tokens.length === 0)
      throw new FlashlmError(
        "ENGINE_OPTION",
        "Expected at least one token but the prompt is empty. Give a prompt.",
      );
    const bad = tokens.find((token) => !Number.isInteger(token) || token < 0 || token >= vocabularySize);
    if (bad !== undefined)
      throw new FlashlmError(
        "ENGINE_OPTION",
        `Expected token ids from 0 to ${vocabularySize - 1} but received ${bad}.`,
        { token: bad },
      );
    if (tokens.length > this.contextLength) {
      throw new FlashlmError(
        "ENGINE_CONTEXT_FULL",
        `Expected at most ${this.contextLength} tokens of context but received ${tokens.length}. Shorten the text or give a longer --context.`,
        { contextLength: this.contextLength, tokenCount: tokens.length },
      );
    }
    this.#machine.state.fitSequence(Math.min(lengthMax, this.contextLength));
    this.#busy = true;
  }

  /** Ends a sequence; one that was not finished may have left reads under way. */
  leave(finished: boolean): void {
    if (!finished) this.#machine.reset();
    this.#busy = false;
  }

  /** Logits of a row of the last {@link head}, f32 `[vocabularySize]`, borrowed. */
  logits(row: number): Float32Array {
    return this.#machine.state.logits.floats.subarray(
      row * this.vocabularySize,
      (row + 1) * this.vocabularySize,
    );
  }

  /** Computes the logits of tokens of the last {@link extend}, at most `plan.logitRowCount`. */
  head(firstRow: number, rowCount: number): Promise<void> {
    return this.#machine.head(firstRow, rowCount);
  }

  /** Runs tokens through the layers, at most as many as fit together; what stood at their places in the sequence is forgotten. */
  async extend(tokens: readonly TokenId[], position: number, windowTokens?: number): Promise<void> {
    const { model } = this.#parts.bundle.manifest;
    await this.#machine.forward.run(tokens, tokens.length, position, windowTokens);
    this.#possibleNeurons += tokens.length * model.layerCount * model.ffn.neuronCount;
  }

  /**
   * All but the last token in chunks, the last one as in decoding: its logits are wanted. The window takes in the neurons of the last tokens, as
   * if they had been decoded.
   */
  async prompt(tokens: readonly TokenId[]): Promise<void> {
    const start = performance.now();
    const { tokenCapacity } = this.#machine.plan;
    const body = tokens.length - 1;
    const seedCount = this.#parts.predictor.dense ? 0 : Math.min(WINDOW_TOKENS - 1, tokenCapacity, body);
    const bulk = body - seedCount;
    for (let begin = 0; begin < bulk; begin += tokenCapacity)
      await this.extend(tokens.slice(begin, Math.min(bulk, begin + tokenCapacity)), begin);
    if (seedCount > 0) await this.extend(tokens.slice(bulk, body), bulk, seedCount);
    await this.extend(tokens.slice(body), body);
    await this.head(0, 1);
    this.#promptTokens += tokens.length;
    this.#promptMs += performance.now() - start;
  }

  /** Counts the cost of some decoding, which says how many tokens it gave. */
  measure(decode: () => Promise<number>): Promise<void> {
    return this.#meter.measure(decode);
  }

  #decode(tokenId: TokenId, position: number): Promise<void> {
    return this.measure(async () => {
      await this.extend([tokenId], position);
      await this.head(0, 1);
      return 1;
    });
  }
}

/** Negative log-likelihood of a token under softmax(logits), in f64. */
function lossOf(logits: Float32Array, target: TokenId): number {
  let largest = Number.NEGATIVE_INFINITY;
  for (let id = 0; id < logits.length; id++) if (logits[id]! > largest) largest = logits[id]!;
  let total = 0;
  for (let id = 0; id < logits.length; id++) total += Math.exp(logits[id]! - largest);
  return Math.log(total) + largest - logits[target]!;
}

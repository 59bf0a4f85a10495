import { beforeAll, describe, expect, it } from "vitest";
import type { PredictorContext, PredictorPart, SparsityPredictor } from "../src/index.js";
import { FlashlmError } from "../src/index.js";
import { createPrng } from "./prng.js";

/** What {@link predictorConformance} tests. */
export interface PredictorConformanceOptions {
  readonly name: string;
  readonly part: PredictorPart;
  /** Makes a context of a small model that the part can serve, with a `tokenCapacity` of at least 3. */
  createContext(): PredictorContext | Promise<PredictorContext>;
}

/** One predictor and the memory around it. */
interface Subject {
  readonly context: PredictorContext;
  readonly predictor: SparsityPredictor;
  readonly layerCount: number;
}

/** Neither 0 nor 1, so that an element that was not written shows. */
const UNWRITTEN = 0x5a;

function neuronCountOf({ context }: Subject, layerIndex: number): number {
  return context.manifest.layers[layerIndex]!.neuronCount;
}

/** Rows of hidden state; magnitudes differ between rows. */
function hiddenRows({ context }: Subject, rowCount: number, seed: number): Float32Array[] {
  const random = createPrng(seed);
  return Array.from({ length: rowCount }, (_, row) =>
    Float32Array.from({ length: context.manifest.model.hiddenSize }, () => (random() * 2 - 1) * (row + 1)),
  );
}

async function predict(
  { context, predictor }: Subject,
  layerIndex: number,
  rows: readonly Float32Array[],
  mask: Uint8Array,
): Promise<number> {
  const { kernels } = context;
  const hiddenSize = context.manifest.model.hiddenSize;
  const hidden = kernels.memory.floats(context.hidden, rows.length * hiddenSize);
  rows.forEach((row, index) => {
    hidden.set(row, index * hiddenSize);
  });
  kernels.memory.words(context.tokenCount, 1)[0] = rows.length;
  const program = predictor.scoreProgram(layerIndex);
  if (program !== null) await kernels.run(program);
  return predictor.predictInto(layerIndex, rows.length, { mask });
}

function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    return FlashlmError.isInstance(error) ? error.code : String(error);
  }
  return "no error";
}

function maskTests(subject: () => Subject, part: PredictorPart): void {
  it("writes every element of its rows, none beyond, and counts them", async () => {
    for (let layerIndex = 0; layerIndex < subject().layerCount; layerIndex++) {
      const elementCount = 3 * neuronCountOf(subject(), layerIndex);
      const mask = new Uint8Array(elementCount + 8).fill(UNWRITTEN);
      const count = await predict(subject(), layerIndex, hiddenRows(subject(), 3, 1), mask);
      const written = mask.subarray(0, elementCount);
      expect(written.every((element) => element === 0 || element === 1)).toBe(true);
      expect(count).toBe(written.reduce((sum, element) => sum + element, 0));
      expect(mask.subarray(elementCount).every((element) => element === UNWRITTEN)).toBe(true);
      if (part.dense) expect(count).toBe(elementCount);
    }
  });
}

function pureTests(subject: () => Subject): void {
  it("predicts the same for the same hidden state, whatever came before", async () => {
    const elementCount = 2 * neuronCountOf(subject(), 0);
    const first = new Uint8Array(elementCount);
    const again = new Uint8Array(elementCount).fill(1);
    const rows = hiddenRows(subject(), 2, 2);
    await predict(subject(), 0, rows, first);
    const other = new Uint8Array(3 * neuronCountOf(subject(), 0));
    await predict(subject(), 0, hiddenRows(subject(), 3, 3), other);
    const lastLayer = subject().layerCount - 1;
    await predict(subject(), lastLayer, rows, new Uint8Array(2 * neuronCountOf(subject(), lastLayer)));
    await predict(subject(), 0, rows, again);
    expect(again).toEqual(first);
  });

  it("predicts the same for one token as for many", async () => {
    for (let layerIndex = 0; layerIndex < subject().layerCount; layerIndex++) {
      const neuronCount = neuronCountOf(subject(), layerIndex);
      const rows = hiddenRows(subject(), 3, 4 + layerIndex);
      const together = new Uint8Array(3 * neuronCount);
      const sum = await predict(subject(), layerIndex, rows, together);
      let countSum = 0;
      for (const [index, row] of rows.entries()) {
        const alone = new Uint8Array(neuronCount);
        countSum += await predict(subject(), layerIndex, [row], alone);
        expect(alone).toEqual(together.subarray(index * neuronCount, (index + 1) * neuronCount));
      }
      expect(countSum).toBe(sum);
    }
  });
}

function scoreTests(subject: () => Subject): void {
  it("scores every neuron of a token, those that it predicts above all others, where it scores at all", async () => {
    const { predictor, layerCount } = subject();
    for (let layerIndex = 0; layerIndex < layerCount; layerIndex++) {
      const neuronCount = neuronCountOf(subject(), layerIndex);
      const mask = new Uint8Array(neuronCount);
      await predict(subject(), layerIndex, hiddenRows(subject(), 1, 20 + layerIndex), mask);
      const scores = predictor.scores?.(layerIndex);
      if (!scores) continue;
      expect(scores.length).toBe(neuronCount);
      const of = (kept: number): number[] => Array.from(scores).filter((_, neuron) => mask[neuron] === kept);
      expect(Math.max(-Infinity, ...of(0))).toBeLessThanOrEqual(Math.min(Infinity, ...of(1)));
    }
  });
}

function lookAheadTests(subject: () => Subject, part: PredictorPart): void {
  it("names neurons of the next layer in order, a surer guess some of them, an exact one those that are predicted then", async () => {
    const { context, predictor, layerCount } = subject();
    if (!predictor.lookAheadInto) return expect(part.lookAhead ?? false).toBe(false);
    for (let layerIndex = 0; layerIndex + 1 < layerCount; layerIndex++) {
      const neuronCount = neuronCountOf(subject(), layerIndex + 1);
      const [row, nextRow] = [hiddenRows(subject(), 1, 30 + layerIndex), hiddenRows(subject(), 1, 31)];
      await predict(subject(), layerIndex, row, new Uint8Array(neuronCountOf(subject(), layerIndex)));
      const program = predictor.lookAheadProgram?.(layerIndex);
      if (program) await context.kernels.run(program);
      const guess = (margin: number): number[] => {
        const ids = new Uint32Array(neuronCount);
        return [...ids.subarray(0, predictor.lookAheadInto!(layerIndex, ids, margin))];
      };
      const guessed = guess(0);
      expect(guessed).toEqual([...new Set(guessed)].sort((a, b) => a - b));
      expect(guessed.every((id) => id < neuronCount)).toBe(true);
      expect(guess(0.5).every((id) => guessed.includes(id))).toBe(true);
      if (!part.lookAheadIsExact) continue;
      const mask = new Uint8Array(neuronCount);
      expect(await predict(subject(), layerIndex + 1, nextRow, mask)).toBe(guessed.length);
      expect(guessed.every((id) => mask[id] === 1)).toBe(true);
    }
    const lastLayer = layerCount - 1;
    const roomy = new Uint32Array(neuronCountOf(subject(), lastLayer));
    expect(codeOf(() => predictor.lookAheadInto!(lastLayer, roomy, 0))).toBe("PREDICTOR_SHAPE");
    expect(codeOf(() => predictor.lookAheadInto!(lastLayer - 1, roomy.subarray(1), 0))).toBe(
      "PREDICTOR_SHAPE",
    );
  });
}

/** Registers the tests that every {@link PredictorPart} must pass. The kernel set of the context is closed by its maker. */
export function predictorConformance({ name, part, createContext }: PredictorConformanceOptions): void {
  describe(`predictor conformance: ${name}`, () => {
    let made: Subject | undefined;
    const subject = (): Subject => made!;
    beforeAll(async () => {
      const context = await createContext();
      made = { context, predictor: part.create(context), layerCount: context.manifest.layers.length };
    });

    maskTests(subject, part);
    // Where the layer before says what is computed, a layer's own hidden state says nothing.
    if (!part.lookAheadIsExact) pureTests(subject);
    scoreTests(subject);
    lookAheadTests(subject, part);

    it("refuses layers, token counts and masks that do not fit", () => {
      const { predictor, context, layerCount } = subject();
      const neuronCount = neuronCountOf(subject(), 0);
      const mask = new Uint8Array((context.tokenCapacity + 1) * neuronCount);
      expect(codeOf(() => predictor.predictInto(layerCount, 1, { mask }))).toBe("PREDICTOR_SHAPE");
      expect(codeOf(() => predictor.predictInto(0, context.tokenCapacity + 1, { mask }))).toBe(
        "PREDICTOR_SHAPE",
      );
      const short = mask.subarray(0, neuronCount - 1);
      expect(codeOf(() => predictor.predictInto(0, 1, { mask: short }))).toBe("PREDICTOR_SHAPE");
    });

    it("names only tensors that exist, and its scratch in whole numbers", () => {
      const { manifest, tokenCapacity } = subject().context;
      const present = new Set(manifest.tensors.map((tensor) => tensor.name));
      for (const tensorName of part.tensorNames(manifest, 0)) {
        expect(present.has(`layers.0.${tensorName}`), tensorName).toBe(true);
      }
      const scratchBytes = part.scratchBytes(manifest, tokenCapacity);
      expect(Number.isInteger(scratchBytes) && scratchBytes >= 0).toBe(true);
      expect(part.dense && part.tensorNames(manifest, 0).length > 0).toBe(false);
    });
  });
}

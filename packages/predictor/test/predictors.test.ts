import type { PredictorPart } from "@flashlm/contracts";
import { FlashlmError } from "@flashlm/contracts";
import { createPrng } from "@flashlm/contracts/testing";
import { describe, expect, it } from "vitest";
import { densePredictor, gateThresholdPredictor, oraclePredictor, shadowPredictor } from "../src/index.js";
import {
  dot,
  type FakeContext,
  fakeContext,
  fakeManifest,
  HIDDEN_SIZE,
  type ModelOptions,
  NEURON_COUNTS,
  scoreOf,
  TOKEN_CAPACITY,
} from "./fake-kernels.js";

function faultOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    if (FlashlmError.isInstance(error)) return `${error.code} ${error.message}`;
    throw error;
  }
  return "no error";
}

/** Runs a part on random hidden states of two tokens; masks by layer, with the hidden rows. */
function predictAll(
  part: PredictorPart,
  context: FakeContext,
): { masks: Uint8Array[]; rows: Float32Array[] } {
  const random = createPrng(9);
  const predictor = part.create(context);
  const hidden = context.kernels.memory.floats(context.hidden, 2 * HIDDEN_SIZE);
  for (let index = 0; index < hidden.length; index++) hidden[index] = random() * 2 - 1;
  context.kernels.memory.words(context.tokenCount, 1)[0] = 2;
  const masks = NEURON_COUNTS.map((neuronCount, layerIndex) => {
    const mask = new Uint8Array(2 * neuronCount);
    const program = predictor.scoreProgram(layerIndex);
    if (program !== null) context.kernels.run(program);
    predictor.predictInto(layerIndex, 2, { mask });
    return mask;
  });
  return { masks, rows: [hidden.slice(0, HIDDEN_SIZE), hidden.slice(HIDDEN_SIZE)] };
}

/** Gate and up dots of every neuron of a layer, in float64. */
function dotsOf(
  context: FakeContext,
  prefix: string,
  layerIndex: number,
  row: Float32Array,
): [number, number][] {
  const gate = context.values(`layers.${layerIndex}.${prefix}.gate.weight`);
  const up = context.values(`layers.${layerIndex}.${prefix}.up.weight`);
  return Array.from({ length: NEURON_COUNTS[layerIndex]! }, (_, neuron) => [
    dot(gate, neuron, row),
    dot(up, neuron, row),
  ]);
}

function expectMasks(
  context: FakeContext,
  part: PredictorPart,
  rowMask: (layerIndex: number, row: Float32Array) => number[],
): void {
  const { masks, rows } = predictAll(part, context);
  masks.forEach((mask, layerIndex) => {
    expect(Array.from(mask)).toEqual(rows.flatMap((row) => rowMask(layerIndex, row)));
    expect(new Set(mask).size).toBe(2); // neither all nor nothing: the case says something
  });
}

const silu = { activation: { name: "silu", threshold: 0 } } as const;

describe("oracle", () => {
  it.each<[string, ModelOptions, (gate: number, up: number) => boolean]>([
    ["ReLU", {}, (gate) => gate > 0],
    ["FATReLU", { ffn: { activation: { name: "relu", threshold: 0.5 } } }, (gate) => gate > 0.5],
    ["squared ReLU", { ffn: { activation: { name: "relu2", threshold: 0 } } }, (gate) => gate > 0],
    ["ReLU on both", { ffn: { upActivation: "relu" } }, (gate, up) => gate > 0 && up > 0],
    ["ReLU on up only", { ffn: { ...silu, upActivation: "relu" } }, (_gate, up) => up > 0],
  ])("predicts exactly the neurons that are not zero: %s", (_name, options, active) => {
    const context = fakeContext(options);
    expectMasks(context, oraclePredictor, (layerIndex, row) =>
      dotsOf(context, "exact", layerIndex, row).map(([gate, up]) => (active(gate, up) ? 1 : 0)),
    );
  });

  it("serves a plain FFN through its up projection", () => {
    const context = fakeContext({ ffn: { kind: "plain" }, tensorNames: ["exact.up.weight"] });
    expectMasks(context, oraclePredictor, (layerIndex, row) => {
      const up = context.values(`layers.${layerIndex}.exact.up.weight`);
      return Array.from({ length: NEURON_COUNTS[layerIndex]! }, (_, neuron) =>
        dot(up, neuron, row) > 0 ? 1 : 0,
      );
    });
  });

  it("says why it is not available and what to use", () => {
    const smooth = faultOf(() => oraclePredictor.create(fakeContext({ ffn: silu })));
    expect(smooth).toMatch(/^PREDICTOR_NOT_AVAILABLE .*silu.*use dense.*shadow/);
    const without = faultOf(() => oraclePredictor.create(fakeContext({ tensorNames: [] })));
    expect(without).toMatch(/^PREDICTOR_NOT_AVAILABLE .*layers\.0\.exact\.gate\.weight.*dense/);
    expect(faultOf(() => oraclePredictor.tensorNames(fakeManifest({ tensorNames: [] }), 0))).toBe(without);
    const twice = fakeContext({ ffn: { bias: true, upActivation: "relu" } });
    expect(faultOf(() => oraclePredictor.create(twice))).toMatch(/NOT_AVAILABLE.*biases/);
  });

  it.each([
    ["plain", "up", 0],
    ["gated", "gate", 0.5],
  ] as const)("counts the biases of a %s FFN", (kind, part, threshold) => {
    const context = fakeContext({
      ffn: { kind, bias: true, activation: { name: "relu", threshold } },
      tensorNames: [`exact.${part}.weight`, `exact.${part}.bias`],
    });
    expectMasks(context, oraclePredictor, (layerIndex, row) => {
      const weight = context.values(`layers.${layerIndex}.exact.${part}.weight`);
      const bias = context.values(`layers.${layerIndex}.exact.${part}.bias`);
      return Array.from({ length: NEURON_COUNTS[layerIndex]! }, (_, neuron) =>
        Math.fround(dot(weight, neuron, row) + bias[neuron]!) > threshold ? 1 : 0,
      );
    });
  });

  it("keeps a neuron whose activation is not a number", () => {
    const context = fakeContext();
    context.values("layers.0.exact.gate.weight").fill(Number.NaN, 0, HIDDEN_SIZE);
    expect(predictAll(oraclePredictor, context).masks[0]![0]).toBe(1);
  });
});

describe("shadow", () => {
  it.each([0.01, 0.3, 0.5, 0.9])("keeps the share %d with the highest contribution", (keptShare) => {
    const context = fakeContext({ ffn: silu });
    const kind = { kind: "contribution", activationFn: silu.activation, upActivation: "none" } as const;
    expectMasks(context, shadowPredictor(keptShare), (layerIndex, row) => {
      const downNorm = context.values(`layers.${layerIndex}.shadow.down_norm`);
      const scores = dotsOf(context, "shadow", layerIndex, row).map(([gate, up], neuron) =>
        Math.fround(scoreOf(kind, gate, up, downNorm[neuron]!)),
      );
      const order = [...scores.keys()].sort((a, b) => scores[b]! - scores[a]! || a - b);
      const kept = new Set(order.slice(0, Math.max(1, Math.round(keptShare * scores.length))));
      return scores.map((_, neuron) => (kept.has(neuron) ? 1 : 0));
    });
  });

  it("refuses shares outside (0, 1] and models without a shadow", () => {
    for (const share of [0, -1, 1.01, Number.NaN])
      expect(faultOf(() => shadowPredictor(share))).toMatch(/^PREDICTOR_OPTION/);
    const part = shadowPredictor(1);
    expect(part.lossless).toBe(true);
    expect(faultOf(() => part.create(fakeContext({ tensorNames: [] })))).toMatch(
      /^PREDICTOR_NOT_AVAILABLE.*shadow\.gate/,
    );
    expect(faultOf(() => part.create(fakeContext({ ffn: { kind: "plain" } })))).toMatch(
      /^PREDICTOR_NOT_AVAILABLE.*no gate/,
    );
  });
});

describe("gate threshold", () => {
  const thresholds = [0.25, 0.6];
  const calibration = {
    text: "",
    tokenCount: 1,
    activeShareByLayer: [1, 1],
    gateThresholds: { "0.5": thresholds },
  };
  const siluOf = (value: number): number => value / (1 + Math.exp(-value));

  it("compares abs(act(gate)) with the layer's threshold", () => {
    const context = fakeContext({ ffn: silu, calibration });
    const part = gateThresholdPredictor({ keptShare: 0.5 });
    expect([part.name, part.lossless]).toEqual(["gate:0.5", false]);
    expectMasks(context, part, (layerIndex, row) =>
      dotsOf(context, "exact", layerIndex, row).map(([gate]) =>
        Math.abs(siluOf(gate)) > thresholds[layerIndex]! ? 1 : 0,
      ),
    );
  });

  it("takes one margin for all layers", () => {
    const context = fakeContext();
    expectMasks(context, gateThresholdPredictor({ margin: 0.5 }), (layerIndex, row) =>
      dotsOf(context, "exact", layerIndex, row).map(([gate]) => (gate > 0.5 ? 1 : 0)),
    );
    expect([gateThresholdPredictor({}).lossless, gateThresholdPredictor({ margin: 0.1 }).lossless]).toEqual([
      true,
      false,
    ]);
  });

  it("says what is missing", () => {
    const create = (options: ModelOptions, keptShare: number): string =>
      faultOf(() => gateThresholdPredictor({ keptShare }).create(fakeContext(options)));
    expect(create({}, 0.5)).toMatch(/^PREDICTOR_NOT_AVAILABLE.*calibrate/);
    expect(create({ calibration }, 0.7)).toMatch(/^PREDICTOR_NOT_AVAILABLE.*calibrated for 0\.5/);
    expect(create({ calibration, tensorNames: [] }, 0.5)).toMatch(/^PREDICTOR_NOT_AVAILABLE.*exact\.gate/);
    expect(faultOf(() => gateThresholdPredictor({ margin: -1 }))).toMatch(/^PREDICTOR_OPTION/);
    expect(faultOf(() => gateThresholdPredictor({ keptShare: 2 }))).toMatch(/^PREDICTOR_OPTION/);
  });
});

describe("memory", () => {
  it("allocates its scores once, as many bytes as it said", () => {
    const context = fakeContext({ ffn: silu });
    const before = context.kernels.allocateCount;
    predictAll(shadowPredictor(0.5), context);
    expect(context.kernels.allocateCount).toBe(before + 1);
    const expectedBytes = TOKEN_CAPACITY * Math.max(...NEURON_COUNTS) * 4;
    expect(shadowPredictor(0.5).scratchBytes(context.manifest, TOKEN_CAPACITY)).toBe(expectedBytes);
    expect(densePredictor.scratchBytes(context.manifest, TOKEN_CAPACITY)).toBe(0);
  });
});

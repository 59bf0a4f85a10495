import { FlashlmError } from "@flashlm/contracts";
import { createPrng, predictorConformance } from "@flashlm/contracts/testing";
import { describe, expect, it } from "vitest";
import { gateShadowPredictor } from "../src/index.js";
import { dot, type FakeContext, fakeContext, HIDDEN_SIZE, NEURON_COUNTS } from "./fake-kernels.js";

const dRelu = { ffn: { upActivation: "relu" } } as const;

predictorConformance({
  name: "gate shadow",
  part: gateShadowPredictor(0.1),
  createContext: () => fakeContext(),
});
predictorConformance({
  name: "gate shadow with ReLU on up",
  part: gateShadowPredictor(0.1),
  createContext: () => fakeContext(dRelu),
});

function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    return FlashlmError.isInstance(error) ? error.code : String(error);
  }
  return "no error";
}

function predict(
  context: FakeContext,
  margin: number,
  layerIndex: number,
): { mask: Uint8Array; row: Float32Array } {
  const predictor = gateShadowPredictor(margin).create(context);
  const random = createPrng(3);
  const row = context.kernels.memory.floats(context.hidden, HIDDEN_SIZE);
  for (let index = 0; index < row.length; index++) row[index] = random() * 2 - 1;
  context.kernels.memory.words(context.tokenCount, 1)[0] = 1;
  context.kernels.run(predictor.scoreProgram(layerIndex)!);
  const mask = new Uint8Array(NEURON_COUNTS[layerIndex]!);
  predictor.predictInto(layerIndex, 1, { mask });
  return { mask, row };
}

/** Float64, from the definition: score above -margin standard deviations of the token's scores. */
function expectedRow(
  context: FakeContext,
  name: string,
  margin: number,
  layerIndex: number,
  row: Float32Array,
): boolean[] {
  const matrix = context.values(`layers.${layerIndex}.shadow.${name}.weight`);
  const scores = Array.from({ length: NEURON_COUNTS[layerIndex]! }, (_, neuron) => dot(matrix, neuron, row));
  const mean = scores.reduce((sum, score) => sum + score, 0) / scores.length;
  const deviation = Math.sqrt(scores.reduce((sum, score) => sum + (score - mean) ** 2, 0) / scores.length);
  return scores.map((score) => score > -margin * deviation);
}

describe("gate shadow", () => {
  it.each([0, 0.1, 0.5])("predicts gates above %f standard deviations below zero", (margin) => {
    for (const layerIndex of [0, 1]) {
      const context = fakeContext();
      const { mask, row } = predict(context, margin, layerIndex);
      const expected = expectedRow(context, "gate", margin, layerIndex, row);
      expect(Array.from(mask, Boolean)).toEqual(expected);
      expect(new Set(expected).size).toBe(2);
    }
  });

  it("asks both copies where up has a ReLU too", () => {
    const context = fakeContext(dRelu);
    const { mask, row } = predict(context, 0.2, 0);
    const gate = expectedRow(context, "gate", 0.2, 0, row);
    const up = expectedRow(context, "up", 0.2, 0, row);
    expect(Array.from(mask, Boolean)).toEqual(gate.map((kept, neuron) => kept && up[neuron]!));
  });

  it("keeps a neuron whose gate is not a number", () => {
    const context = fakeContext();
    context.values("layers.0.shadow.gate.weight").fill(Number.NaN, 0, HIDDEN_SIZE);
    expect(predict(context, 0, 0).mask[0]).toBe(1);
  });

  it("refuses models and margins it cannot serve", () => {
    const part = gateShadowPredictor(0);
    const silu = fakeContext({ ffn: { activation: { name: "silu", threshold: 0 } } });
    expect(codeOf(() => part.create(silu))).toBe("PREDICTOR_NOT_AVAILABLE");
    expect(codeOf(() => part.create(fakeContext({ ffn: { kind: "plain" } })))).toBe(
      "PREDICTOR_NOT_AVAILABLE",
    );
    expect(codeOf(() => part.create(fakeContext({ ffn: { bias: true } })))).toBe("PREDICTOR_NOT_AVAILABLE");
    expect(codeOf(() => part.create(fakeContext({ tensorNames: [] })))).toBe("PREDICTOR_NOT_AVAILABLE");
    expect(codeOf(() => gateShadowPredictor(-0.1))).toBe("PREDICTOR_OPTION");
    expect(codeOf(() => gateShadowPredictor(Number.POSITIVE_INFINITY))).toBe("PREDICTOR_OPTION");
  });
});

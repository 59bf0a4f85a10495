import type { PredictorContext, PredictorPart, SparsityPredictor } from "@flashlm/contracts";
import { checkTarget } from "./checks.js";

/** Predicts every neuron, always: the lossless default for models without exact zeros. Needs no tensors and no scratch. */
export const densePredictor: PredictorPart = {
  name: "dense",
  lossless: true,
  dense: true,
  tensorNames: () => [],
  expectedShare: () => 1,
  scratchBytes: () => 0,
  create: ({ manifest, tokenCapacity }: PredictorContext): SparsityPredictor => ({
    contractVersion: 1,
    name: "dense",
    scoreProgram: () => null,
    predictInto(layerIndex, tokenCount, { mask }) {
      const elementCount = tokenCount * checkTarget(manifest, tokenCapacity, layerIndex, tokenCount, mask);
      mask.fill(1, 0, elementCount);
      return elementCount;
    },
  }),
};

import type { PredictorPart } from "@flashlm/contracts";

/**
 * Stands where a predictor stands, which is where a layer's FFN inputs are, and names every neuron.
 * @param onInputs - told each layer's inputs, f32 `[tokenCount, hiddenSize]`, borrowed for the call.
 * @param onCreate - told how many tokens a call may bring, before the first.
 */
export function inputObserver(
  name: string,
  onInputs: (layerIndex: number, tokenCount: number, inputs: Float32Array) => void,
  onCreate?: (tokenCapacity: number) => void,
): PredictorPart {
  return {
    name,
    lossless: true,
    dense: false,
    tensorNames: () => [],
    scratchBytes: () => 0,
    create: ({ kernels, manifest, hidden, tokenCapacity }) => {
      const { hiddenSize, ffn } = manifest.model;
      const inputs = kernels.memory.floats(hidden, tokenCapacity * hiddenSize);
      onCreate?.(tokenCapacity);
      return {
        contractVersion: 1,
        name,
        scoreProgram: () => null,
        predictInto: (layerIndex, tokenCount, { mask }) => {
          onInputs(layerIndex, tokenCount, inputs.subarray(0, tokenCount * hiddenSize));
          mask.fill(1, 0, tokenCount * ffn.neuronCount);
          return tokenCount * ffn.neuronCount;
        },
      };
    },
  };
}

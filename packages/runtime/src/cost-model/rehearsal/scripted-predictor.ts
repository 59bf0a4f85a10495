import type { PredictorPart, SparsityPredictor } from "@flashlm/contracts";

/** What the next token names: ascending neurons of each layer. Set before the token is run. */
export interface Script {
  namedByLayer: readonly Uint32Array[];
}

/** Above every score of a neuron that is not named. */
const THRESHOLD = 0;

/**
 * A predictor whose answers are written beforehand. It goes through a layer's scores as real ones do, and hands them to the cache;
 * scoring itself, a kernel program, is left out.
 */
export function scriptedPredictor(script: Script): PredictorPart {
  return {
    name: "scripted",
    lossless: false,
    dense: false,
    tensorNames: () => [],
    scratchBytes: () => 0,
    create: ({ manifest }): SparsityPredictor => {
      const scoresByLayer = manifest.layers.map(({ neuronCount }) => new Float32Array(neuronCount));
      return {
        contractVersion: 1,
        name: "scripted",
        scoreProgram: (layerIndex) => {
          // Stands for the program: scores are there when neurons are selected.
          const scores = scoresByLayer[layerIndex]!;
          scores.fill(THRESHOLD - 1);
          for (const id of script.namedByLayer[layerIndex]!) scores[id] = THRESHOLD + 1;
          return null;
        },
        predictInto(layerIndex, _tokenCount, { mask }) {
          const scores = scoresByLayer[layerIndex]!;
          let keptCount = 0;
          for (let neuron = 0; neuron < scores.length; neuron++) {
            const kept = scores[neuron]! <= THRESHOLD ? 0 : 1;
            mask[neuron] = kept;
            keptCount += kept;
          }
          return keptCount;
        },
        scores: (layerIndex) => scoresByLayer[layerIndex]!,
      };
    },
  };
}

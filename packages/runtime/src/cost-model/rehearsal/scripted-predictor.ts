import type { KernelProgram, PredictorContext, PredictorPart, SparsityPredictor } from "@flashlm/contracts";

/** What the next token names: ascending neurons of each layer. Set before the token is run. */
export interface Script {
  namedByLayer: readonly Uint32Array[];
}

/** Above every score of a neuron that is not named. */
const THRESHOLD = 0;

/** Rows of a made-up head: few bytes, which forecasts count apart, and enough that the kernels' threads are woken for them. */
const HEAD_ROW_COUNT = 256;

/** A product of the layer's input with a made-up head. */
function smallProgram({ kernels, manifest, tokenCount, hidden }: PredictorContext): KernelProgram {
  const columnCount = manifest.model.hiddenSize;
  const base = kernels.memory.allocate(4 * HEAD_ROW_COUNT * columnCount);
  kernels.memory.floats(base, HEAD_ROW_COUNT * columnCount).fill(0);
  const weight = { dtype: "f32", rowCount: HEAD_ROW_COUNT, columnCount, base } as const;
  const target = kernels.memory.allocate(4 * HEAD_ROW_COUNT);
  return kernels.compile([{ op: "matmul", tokenCount, weight, source: hidden, target, accumulate: false }]);
}

/**
 * A predictor whose answers are written beforehand. It runs a small program where real ones score, goes through a layer's scores as they do, and hands
 * them to the cache.
 */
export function scriptedPredictor(script: Script): PredictorPart {
  return {
    name: "scripted",
    lossless: false,
    dense: false,
    tensorNames: () => [],
    scratchBytes: ({ model }) => 4 * HEAD_ROW_COUNT * (model.hiddenSize + 1) + 128,
    create: (context): SparsityPredictor => {
      const { manifest } = context;
      const program = smallProgram(context);
      const scoresByLayer = manifest.layers.map(({ neuronCount }) => new Float32Array(neuronCount));
      return {
        contractVersion: 1,
        name: "scripted",
        scoreProgram: (layerIndex) => {
          // Scores are there when neurons are selected.
          const scores = scoresByLayer[layerIndex]!;
          scores.fill(THRESHOLD - 1);
          for (const id of script.namedByLayer[layerIndex]!) scores[id] = THRESHOLD + 1;
          return program;
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

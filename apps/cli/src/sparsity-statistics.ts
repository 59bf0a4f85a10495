import {
  type BundleIndex,
  isExactlySparse,
  type ModelDemand,
  type PredictorPart,
  type SparsityPredictor,
} from "@flashlm/contracts";
import type { Flight } from "@flashlm/runtime";
import { DemandCounter, demandCounterBytes } from "@flashlm/window-cache";

/** What a predictor does in one layer; counts over all tokens. */
interface LayerCounts {
  tokenCount: number;
  activeCount: number;
  predictedCount: number;
  missedCount: number;
  /** Sums of `abs(activation)`: all, and of the neurons that were not predicted. */
  activation: number;
  missedActivation: number;
}

/** A layer's figures. Shares from 0 to 1; null where the model has no exact zeros, so that nothing is inactive. */
export interface LayerSparsity {
  readonly layerIndex: number;
  readonly activeShare: number | null;
  readonly predictedShare: number;
  /** Missed over active. */
  readonly falseNegatives: number | null;
  /** Predicted without need over inactive. */
  readonly falsePositives: number | null;
  /** Share of the summed `abs(activation)` that belongs to neurons that were not predicted. */
  readonly missedActivation: number;
}

/**
 * Compares what a predictor names with what a dense run of the same model really needs, on the same hidden states: the engine computes every
 * neuron, and the predictor is only asked.
 */
export class SparsityStatistics {
  readonly #part: PredictorPart;
  readonly #bundle: BundleIndex;
  readonly #exact: boolean;
  readonly #counts: LayerCounts[];
  readonly #named: DemandCounter[];
  /** The predictor's mask of the chunk that runs, in the layer that runs. */
  #mask = new Uint8Array(0);

  constructor(bundle: BundleIndex, part: PredictorPart) {
    this.#bundle = bundle;
    this.#part = part;
    this.#exact = isExactlySparse(bundle.manifest.model.ffn);
    this.#counts = bundle.manifest.layers.map(() => ({
      tokenCount: 0,
      activeCount: 0,
      predictedCount: 0,
      missedCount: 0,
      activation: 0,
      missedActivation: 0,
    }));
    this.#named = bundle.manifest.layers.map(({ neuronCount }) => new DemandCounter(neuronCount));
  }

  /** The predictor, asked and then overruled: every neuron is computed. */
  predictorPart(): PredictorPart {
    const part = this.#part;
    return {
      name: part.name,
      lossless: true,
      dense: false,
      tensorNames: (manifest, layerIndex) => part.tensorNames(manifest, layerIndex),
      scratchBytes: (manifest, tokenCapacity) => part.scratchBytes(manifest, tokenCapacity),
      create: (context) => {
        const inner = part.create(context);
        this.#mask = new Uint8Array(context.tokenCapacity * context.manifest.model.ffn.neuronCount);
        const overruled: SparsityPredictor = {
          contractVersion: 1,
          name: inner.name,
          scoreProgram: (layerIndex) => inner.scoreProgram(layerIndex),
          predictInto: (layerIndex, tokenCount, target) => {
            inner.predictInto(layerIndex, tokenCount, target);
            return this.#take(layerIndex, tokenCount, target.mask);
          },
        };
        return overruled;
      },
    };
  }

  #take(layerIndex: number, tokenCount: number, mask: Uint8Array): number {
    const { neuronCount } = this.#bundle.manifest.layers[layerIndex]!;
    const counts = this.#counts[layerIndex]!;
    const named = this.#named[layerIndex]!;
    const taken = this.#mask;
    taken.set(mask.subarray(0, tokenCount * neuronCount));
    for (let token = 0; token < tokenCount; token++) {
      for (let id = 0; id < neuronCount; id++) {
        if (taken[token * neuronCount + id] === 0) continue;
        counts.predictedCount++;
        named.add(id);
      }
      named.endToken();
    }
    counts.tokenCount += tokenCount;
    mask.fill(1, 0, tokenCount * neuronCount);
    return tokenCount * neuronCount;
  }

  /** Engine callback: activations f32 `[tokenCount, neuronCount]` by position within the flight. */
  readonly observe = (flight: Flight, tokenCount: number, activation: Float32Array): void => {
    const stride = this.#bundle.manifest.model.ffn.neuronCount;
    const counts = this.#counts[flight.layerIndex]!;
    const mask = this.#mask;
    for (let token = 0; token < tokenCount; token++) {
      for (let position = 0; position < flight.count; position++) {
        const value = Math.abs(activation[token * stride + position]!);
        if (value === 0) continue;
        const predicted = mask[token * stride + flight.ids[position]!] === 1;
        counts.activeCount++;
        counts.activation += value;
        if (predicted) continue;
        counts.missedCount++;
        counts.missedActivation += value;
      }
    }
  };

  /** Figures by layer. */
  layers(): LayerSparsity[] {
    return this.#counts.map((counts, layerIndex) => {
      const all = counts.tokenCount * this.#bundle.manifest.layers[layerIndex]!.neuronCount;
      const inactive = all - counts.activeCount;
      const needless = counts.predictedCount - (counts.activeCount - counts.missedCount);
      const ratio = (part: number, whole: number): number => (whole > 0 ? part / whole : 0);
      return {
        layerIndex,
        activeShare: this.#exact ? ratio(counts.activeCount, all) : null,
        predictedShare: ratio(counts.predictedCount, all),
        falseNegatives: this.#exact ? ratio(counts.missedCount, counts.activeCount) : null,
        falsePositives: this.#exact ? ratio(needless, inactive) : null,
        missedActivation: ratio(counts.missedActivation, counts.activation),
      };
    });
  }

  /** What the predictor asks of a cache. */
  demand(): ModelDemand {
    const layers = this.#named.map((counter) => counter.demand());
    return { sparsity: this.#part.name, tokenCount: this.#counts[0]?.tokenCount ?? 0, layers };
  }
}

/** Bytes that {@link SparsityStatistics} takes beside the engine that runs `tokenCapacity` tokens at once. */
export function sparsityStatisticsBytes({ manifest }: BundleIndex, tokenCapacity: number): number {
  return manifest.layers.reduce(
    (total, { neuronCount }) => total + demandCounterBytes(neuronCount),
    tokenCapacity * manifest.model.ffn.neuronCount,
  );
}

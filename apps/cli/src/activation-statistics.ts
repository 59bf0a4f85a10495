import {
  type BundleCalibration,
  type BundleIndex,
  isExactlySparse,
  type PredictorPart,
} from "@flashlm/contracts";
import type { Flight } from "@flashlm/runtime";

/** Kept shares that thresholds are written for: 0.05, 0.10 .. 0.95. */
const SHARES = Array.from({ length: 19 }, (_, index) => Math.round((index + 1) * 5) / 100);
/** Histogram bins: sign and exponent and 7 bits of mantissa of a non-negative f32, so that a threshold is within 1 %. */
const BIN_COUNT = 1 << 15;
const BIN_SHIFT = 16;

/**
 * What a model's FFN does on a text: how often each neuron fires (or how much it contributes, where none is ever exactly zero), and how
 * large the gates are.
 */
export class ActivationStatistics {
  readonly #bundle: BundleIndex;
  /** Per layer, by record: tokens with a non-zero activation, or summed `abs(activation)`. */
  readonly #heat: Float64Array[];
  readonly #gates: Uint32Array[];
  readonly #exact: boolean;
  #activeCount: number[];

  constructor(bundle: BundleIndex) {
    this.#bundle = bundle;
    this.#exact = isExactlySparse(bundle.manifest.model.ffn);
    this.#heat = bundle.manifest.layers.map((layer) => new Float64Array(layer.neuronCount));
    this.#gates = bundle.manifest.layers.map(() => new Uint32Array(BIN_COUNT));
    this.#activeCount = bundle.manifest.layers.map(() => 0);
  }

  /** Engine callback: activations f32 `[tokenCount, neuronCount]` by position within the flight. */
  readonly observe = (flight: Flight, tokenCount: number, activation: Float32Array): void => {
    const heat = this.#heat[flight.layerIndex]!;
    const stride = this.#bundle.manifest.model.ffn.neuronCount;
    let active = 0;
    for (let token = 0; token < tokenCount; token++) {
      for (let position = 0; position < flight.count; position++) {
        const value = Math.abs(activation[token * stride + position]!);
        if (value === 0) continue;
        active++;
        heat[flight.ids[position]!]! += this.#exact ? 1 : value;
      }
    }
    this.#activeCount[flight.layerIndex]! += active;
  };

  /** A predictor that predicts everything and looks at the exact gates where the bundle has them. */
  predictorPart(): PredictorPart {
    const hasGates = this.#bundle.hasTensor("layers.0.exact.gate.weight");
    const gates = this.#gates;
    return {
      name: "calibration",
      lossless: true,
      dense: !hasGates,
      tensorNames: () => (hasGates ? ["exact.gate.weight"] : []),
      scratchBytes: (manifest, tokenCapacity) => tokenCapacity * manifest.model.ffn.neuronCount * 4 + 256,
      create(context) {
        const { kernels, manifest, tokenCapacity, tokenCount, hidden } = context;
        const neuronCount = manifest.model.ffn.neuronCount;
        const scores = kernels.memory.allocate(tokenCapacity * neuronCount * 4);
        const bits = kernels.memory.words(scores, tokenCapacity * neuronCount);
        const programs = manifest.layers.map((_, layerIndex) =>
          hasGates
            ? kernels.compile([
                {
                  op: "neuronScores",
                  kind: "gate",
                  tokenCount,
                  gate: context.tensor(`layers.${layerIndex}.exact.gate.weight`),
                  activationFn: manifest.model.ffn.activation,
                  upActivation: "none",
                  source: hidden,
                  scores,
                },
              ])
            : null,
        );
        return {
          contractVersion: 1,
          name: "calibration",
          scoreProgram: (layerIndex) => programs[layerIndex] ?? null,
          predictInto(layerIndex, count, target) {
            const bins = gates[layerIndex]!;
            for (let index = 0; index < count * neuronCount; index++)
              bins[(bits[index]! & 0x7fffffff) >>> BIN_SHIFT]!++;
            target.mask.fill(1, 0, count * neuronCount);
            return count * neuronCount;
          },
        };
      },
    };
  }

  /** The hottest-first order, and the statistics to be written. */
  finish(text: string, tokenCount: number): { order: Uint32Array[]; calibration: BundleCalibration } {
    const order = this.#heat.map((heat) =>
      Uint32Array.from(heat.keys()).sort((a, b) => heat[b]! - heat[a]! || a - b),
    );
    const activeShareByLayer = this.#activeCount.map(
      (count, layerIndex) => count / (tokenCount * this.#heat[layerIndex]!.length),
    );
    const hasGates = this.#gates.some((bins) => bins.some((count) => count > 0));
    const gateThresholds = Object.fromEntries(
      hasGates
        ? SHARES.map((share) => [String(share), this.#gates.map((bins) => quantile(bins, share))])
        : [],
    );
    return { order, calibration: { text, tokenCount, activeShareByLayer, gateThresholds } };
  }
}

/** Bytes that {@link ActivationStatistics} takes beside the engine, and one layer's order while it is sorted. */
export function activationStatisticsBytes({ manifest }: BundleIndex): number {
  const { neuronCount } = manifest.model.ffn;
  return manifest.layers.reduce(
    (total, layer) => total + (8 + 4) * layer.neuronCount + 4 * BIN_COUNT,
    2 * 8 * neuronCount,
  );
}

/** Value above which `share` of the histogram lies. */
function quantile(bins: Uint32Array, share: number): number {
  const total = bins.reduce((sum, count) => sum + count, 0);
  let above = 0;
  for (let bin = bins.length - 1; bin >= 0; bin--) {
    above += bins[bin]!;
    if (above >= share * total) return new Float32Array(Uint32Array.of(bin << BIN_SHIFT).buffer)[0]!;
  }
  return 0;
}

import type { BundleManifest, PredictorPart } from "@flashlm/contracts";
import type { Flight } from "@flashlm/runtime";
import { inputObserver } from "../input-observer.js";
import { type Matrix, zeroMatrix } from "./matrix.js";

/** What a dense run did, layer by layer. */
export interface CapturedLayer {
  /** FFN inputs `[tokens, hiddenSize]`, or null for a layer that was not chosen. */
  readonly inputs: Matrix | null;
  /** Per neuron, tokens at which it was active. */
  readonly activeTokens: Uint32Array;
}

/**
 * Records a dense run: stands where a predictor stands, which is where FFN inputs are, and predicts every neuron. Tokens come in the order in
 * which the engine is given them.
 */
export class ActivationCapture {
  readonly layers: readonly CapturedLayer[];
  readonly #tokenCounts: Uint32Array;
  readonly #onLayer: () => void;
  readonly #neuronCount: number;

  /** @param tokenCapacity - tokens of all runs together. @param chosenLayers - whose inputs are kept. */
  constructor(
    manifest: BundleManifest,
    tokenCapacity: number,
    chosenLayers: ReadonlySet<number>,
    onLayer: () => void,
  ) {
    const { hiddenSize, ffn } = manifest.model;
    this.#onLayer = onLayer;
    this.#neuronCount = ffn.neuronCount;
    this.#tokenCounts = new Uint32Array(manifest.layers.length);
    this.layers = manifest.layers.map((_, layerIndex) => ({
      inputs: chosenLayers.has(layerIndex) ? zeroMatrix(tokenCapacity, hiddenSize) : null,
      activeTokens: new Uint32Array(ffn.neuronCount),
    }));
  }

  /** Engine callback: activations f32 `[tokenCount, neuronCount]` by position within the flight. */
  readonly observe = (flight: Flight, tokenCount: number, activation: Float32Array): void => {
    const { activeTokens } = this.layers[flight.layerIndex]!;
    for (let token = 0; token < tokenCount; token++) {
      const row = token * this.#neuronCount;
      for (let position = 0; position < flight.count; position++)
        if (activation[row + position] !== 0) activeTokens[flight.ids[position]!]!++;
    }
  };

  /** The part to give the engine. */
  predictorPart(): PredictorPart {
    return inputObserver("capture", (layerIndex, tokenCount, inputs) => {
      const first = this.#tokenCounts[layerIndex]!;
      const hiddenSize = inputs.length / tokenCount;
      this.layers[layerIndex]!.inputs?.values.set(inputs, first * hiddenSize);
      this.#tokenCounts[layerIndex] = first + tokenCount;
      this.#onLayer();
    });
  }
}

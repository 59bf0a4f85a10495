import type { BundleIndex, BundleTensor } from "@flashlm/contracts";
import { layerTensor } from "./blocks.js";
import { BIAS_WORD_INDEX, type Flight } from "./flight.js";
import type { Residency } from "./residency.js";

const PARTS = ["gate", "up", "down"] as const;

/** A bias of a layer: its block, and which of a flight's bias words points at it. */
interface Bias {
  readonly blockName: string;
  readonly tensor: BundleTensor;
  readonly wordIndex: number;
}

/** The FFN's biases, which are in the same blocks as attention weights: their places may change from token to token. */
export class FfnBiases {
  readonly #residency: Residency;
  readonly #byLayer: readonly (readonly Bias[])[];

  constructor(bundle: BundleIndex, residency: Residency) {
    this.#residency = residency;
    const hasBias = bundle.manifest.model.ffn.bias;
    this.#byLayer = bundle.manifest.layers.map((_, layerIndex) =>
      PARTS.flatMap((part, index) => {
        const tensor = hasBias ? layerTensor(bundle, layerIndex, `ffn.${part}.bias`) : undefined;
        return tensor
          ? [{ blockName: `attention.${layerIndex}`, tensor, wordIndex: BIAS_WORD_INDEX + index }]
          : [];
      }),
    );
  }

  /** Tells a flight's programs where its layer's biases are now. */
  pointAt(flight: Flight): void {
    for (const { blockName, tensor, wordIndex } of this.#byLayer[flight.layerIndex]!)
      flight.words[wordIndex] = this.#residency.address(blockName, tensor);
  }
}

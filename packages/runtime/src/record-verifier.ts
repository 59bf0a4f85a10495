import { type BundleIndex, FlashlmError, type KernelSet } from "@flashlm/contracts";
import type { Flight } from "./flight.js";

/** Checks records that have landed against the bundle's checksums: on their first read in a run, at every read, or never. */
export class RecordVerifier {
  readonly #bundle: BundleIndex;
  readonly #kernels: KernelSet;
  readonly #when: "first" | "always" | "never";
  readonly #verified: readonly Uint8Array[];
  /** Per layer, so that a layer that was checked whole costs nothing more. */
  readonly #unverifiedCount: Uint32Array;

  constructor(bundle: BundleIndex, kernels: KernelSet, when: "first" | "always" | "never") {
    this.#bundle = bundle;
    this.#kernels = kernels;
    this.#when = when;
    this.#verified = bundle.manifest.layers.map((layer) => new Uint8Array(layer.neuronCount));
    this.#unverifiedCount = Uint32Array.from(bundle.manifest.layers, (layer) => layer.neuronCount);
  }

  /** Checks a flight's misses whose turn it is, as {@link arrange} has found out. @throws BUNDLE_CHECKSUM, with the layer and the record. */
  async check(flight: Flight): Promise<void> {
    const begin = flight.checkBegin;
    if (begin === flight.count) return;
    const verified = this.#verified[flight.layerIndex]!;
    const expected = this.#bundle.recordChecksums(flight.layerIndex);
    flight.words[0] = begin;
    flight.words[1] = flight.count;
    const running = this.#kernels.run(flight.verify);
    if (running) await running;
    for (let k = begin; k < flight.count; k++) {
      const id = flight.ids[flight.order[k]!]!;
      if (flight.checksums[k] !== expected[id]) {
        throw new FlashlmError(
          "BUNDLE_CHECKSUM",
          `Expected checksum ${expected[id]} for record ${id} of layer ${flight.layerIndex} but its bytes give ${flight.checksums[k]}: ` +
            "the file was changed or the disk lost a bit. Make the bundle again.",
          { layerIndex: flight.layerIndex, neuronId: id },
        );
      }
      if (verified[id] === 0) this.#unverifiedCount[flight.layerIndex]!--;
      verified[id] = 1;
    }
  }

  /** Moves the misses that are to be checked to the end of the flight's order, and notes where they begin. Misses are computed in any order. */
  arrange(flight: Flight): void {
    flight.checkBegin = this.#arranged(flight);
  }

  #arranged({ layerIndex, hitCount, count, ids, order }: Flight): number {
    if (this.#when === "always") return hitCount;
    if (this.#when === "never" || this.#unverifiedCount[layerIndex] === 0) return count;
    const verified = this.#verified[layerIndex]!;
    let begin = count;
    for (let k = count - 1; k >= hitCount; k--) {
      const position = order[k]!;
      if (verified[ids[position]!] !== 0) continue;
      order[k] = order[--begin]!;
      order[begin] = position;
    }
    return begin;
  }
}

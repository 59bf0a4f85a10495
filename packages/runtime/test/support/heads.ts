import { join } from "node:path";
import { openBundle, writeHeads } from "@flashlm/bundler";
import type { BundleHead, BundleIndex } from "@flashlm/contracts";
import { createRandomSource } from "../../src/sampling/index.js";
import { bundleInto } from "./engines.js";

const RANK = 8;
/** Bits of an f16 of about 0.06, to which random ones of sign and mantissa are added. */
const SMALL = 0x2c00;

function randomHalves(count: number, seed: number): Uint8Array {
  const random = createRandomSource(seed);
  const bits = Uint16Array.from(
    { length: count },
    () => SMALL | Math.floor(random.next() * 1024) | (random.next() < 0.5 ? 0x8000 : 0),
  );
  return new Uint8Array(bits.buffer);
}

/** A bundle with random heads, whose look-ahead says of the next layer what that layer's own head would say of this one's input. */
export async function bundleWithHeads(checkpointPath: string, folder: string): Promise<BundleIndex> {
  const { path, manifest } = await bundleInto(checkpointPath, join(folder, "heads"), "f32");
  const point = {
    missedTarget: 0.02,
    threshold: 0,
    predictedShare: 0.5,
    falseNegativeShare: 0.5,
    falsePositiveShare: 0.5,
    missedShare: 0.02,
  };
  const list = manifest.layers.map(
    (_, layerIndex): BundleHead => ({ layerIndex, rank: RANK, points: [point] }),
  );
  const { hiddenSize, ffn } = manifest.model;
  await writeHeads(path, {
    heads: {
      text: "random",
      tokenCount: 2,
      heldOutTokenCount: 1,
      lowrank: list,
      lookahead: list.slice(0, -1),
    },
    weights: (head, layerIndex) => {
      const named = head === "lookahead" ? layerIndex + 1 : layerIndex;
      return {
        a: randomHalves(RANK * hiddenSize, 100 + named),
        b: randomHalves(ffn.neuronCount * RANK, 200 + named),
        bias: new Float32Array(ffn.neuronCount),
      };
    },
  });
  return openBundle(path);
}

import { join } from "node:path";
import { decodeRow, encodeRow, openBundle, writeHeads } from "@flashlm/bundler";
import {
  type BundleHead,
  type BundleIndex,
  type HeadDtype,
  headMatrixDtype,
  rowBytes,
} from "@flashlm/contracts";
import { createRandomSource } from "../../src/sampling/index.js";
import { bundleInto } from "./engines.js";

/** Unless another one is asked for. */
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

/** Halves in what a bundle stores a matrix of such rows in. */
function stored(halves: Uint8Array, columnCount: number, headDtype: HeadDtype): Uint8Array {
  const dtype = headMatrixDtype(headDtype, columnCount);
  if (dtype === "f16") return halves;
  const values = new Float32Array(halves.length / 2);
  decodeRow("f16", halves, values);
  const bytes = new Uint8Array(rowBytes(dtype, values.length));
  encodeRow(dtype, values, bytes);
  return bytes;
}

/** A bundle with random heads, whose look-ahead says of the next layer what that layer's own head would say of this one's input. */
export async function bundleWithHeads(
  checkpointPath: string,
  folder: string,
  { rank = RANK, dtype = "f16" }: { readonly rank?: number; readonly dtype?: HeadDtype } = {},
): Promise<BundleIndex> {
  const { path, manifest } = await bundleInto(checkpointPath, join(folder, `heads-${dtype}`), "f32");
  const point = {
    missedTarget: 0.02,
    threshold: 0,
    predictedShare: 0.5,
    falseNegativeShare: 0.5,
    falsePositiveShare: 0.5,
    missedShare: 0.02,
  };
  const list = manifest.layers.map((_, layerIndex): BundleHead => ({ layerIndex, rank, points: [point] }));
  const { hiddenSize, ffn } = manifest.model;
  await writeHeads(path, {
    heads: {
      text: "random",
      tokenCount: 2,
      heldOutTokenCount: 1,
      lowrank: list,
      lookahead: list.slice(0, -1),
    },
    dtype,
    weights: (head, layerIndex) => {
      const named = head === "lookahead" ? layerIndex + 1 : layerIndex;
      return {
        a: stored(randomHalves(rank * hiddenSize, 100 + named), hiddenSize, dtype),
        b: stored(randomHalves(ffn.neuronCount * rank, 200 + named), rank, dtype),
        bias: new Float32Array(ffn.neuronCount),
      };
    },
  });
  return openBundle(path);
}

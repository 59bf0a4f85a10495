import { closeSync, openSync, readSync } from "node:fs";
import { decodeRow } from "@flashlm/bundler";
import { type BundleIndex, FlashlmError, type NeuronPart } from "@flashlm/contracts";

/** Most bytes of records held at once. */
export const BLOCK_BYTES: number = 4 * 1024 * 1024;

/** Fills `target` from a place of a file. @throws BUNDLE_TRUNCATED where it ends before. */
export function readFully(file: number, target: Uint8Array, positionBytes: number): void {
  for (let done = 0; done < target.length; ) {
    const count = readSync(file, target, done, target.length - done, positionBytes + done);
    if (count === 0)
      throw new FlashlmError(
        "BUNDLE_TRUNCATED",
        `the records end before byte ${positionBytes + target.length}: make the bundle again`,
      );
    done += count;
  }
}

/** Calls `visit` with one vector of every record of a layer, f32 `[hiddenSize]`, in the order of the records. The vector is used again. */
function visitVectors(
  bundle: BundleIndex,
  layerIndex: number,
  partName: NeuronPart,
  visit: (neuron: number, vector: Float32Array) => void,
): void {
  const { record, layers } = bundle.manifest;
  const part = record.parts.find((candidate) => candidate.part === partName);
  if (!part) throw new FlashlmError("BUNDLE_FORMAT", `the records of this bundle have no ${partName} vector`);
  const { neuronCount, offsetBytes } = layers[layerIndex]!;
  const { strideBytes, hiddenSize } = record;
  const blockRecords = Math.max(1, Math.floor(BLOCK_BYTES / strideBytes));
  const block = new Uint8Array(Math.min(blockRecords, neuronCount) * strideBytes);
  const vector = new Float32Array(hiddenSize);
  const file = openSync(bundle.filePaths[1]!, "r");
  try {
    for (let begin = 0; begin < neuronCount; begin += blockRecords) {
      const count = Math.min(blockRecords, neuronCount - begin);
      readFully(file, block.subarray(0, count * strideBytes), offsetBytes + begin * strideBytes);
      for (let index = 0; index < count; index++) {
        const from = index * strideBytes + part.offsetBytes;
        decodeRow(part.dtype, block.subarray(from, from + part.lengthBytes), vector);
        visit(begin + index, vector);
      }
    }
  } finally {
    closeSync(file);
  }
}

/** L2 norm of each neuron's down column, `[neuronCount]` in the order of the records. */
export function downNorms(bundle: BundleIndex, layerIndex: number): Float32Array {
  const norms = new Float32Array(bundle.manifest.layers[layerIndex]!.neuronCount);
  visitVectors(bundle, layerIndex, "down", (neuron, vector) => {
    let squares = 0;
    for (let index = 0; index < vector.length; index++) squares += vector[index]! * vector[index]!;
    norms[neuron] = Math.sqrt(squares);
  });
  return norms;
}

/** Writes the matrix that decides which neurons fire (gate, or up in a plain FFN), f32 `[neuronCount, hiddenSize]`, and its bias less what the dot product must exceed. */
export function readFiringMatrix(
  bundle: BundleIndex,
  layerIndex: number,
  { weight, bias }: { readonly weight: Float32Array; readonly bias: Float32Array },
): void {
  const { layers, model, record } = bundle.manifest;
  const { neuronCount } = layers[layerIndex]!;
  const partName = model.ffn.kind === "gated" ? "gate" : "up";
  visitVectors(bundle, layerIndex, partName, (neuron, vector) =>
    weight.set(vector, neuron * record.hiddenSize),
  );
  bias.fill(0);
  const biasName = `layers.${layerIndex}.ffn.${partName}.bias`;
  if (bundle.hasTensor(biasName)) readBias(bundle, biasName, bias);
  const { threshold } = model.ffn.activation;
  for (let neuron = 0; neuron < neuronCount; neuron++) bias[neuron]! -= threshold;
}

function readBias(bundle: BundleIndex, name: string, target: Float32Array): void {
  const { offsetBytes, fileIndex } = bundle.tensor(name);
  const file = openSync(bundle.filePaths[fileIndex]!, "r");
  try {
    readFully(file, new Uint8Array(target.buffer, target.byteOffset, target.byteLength), offsetBytes);
  } finally {
    closeSync(file);
  }
}

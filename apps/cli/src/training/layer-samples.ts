import { readFileSync } from "node:fs";
import type { BundleIndex, HeadName } from "@flashlm/contracts";
import type { HeadSamples } from "@flashlm/predictor";
import { CONTRIBUTION_OF_CODE } from "./contribution-code.js";
import { firingMatrix } from "./record-vectors.js";
import type { TrainingFolder } from "./training-folder.js";

/** What a head of layer `layerIndex` trains on: its recorded inputs and the contributions of the layer it names. One layer's records are in memory at a time. */
export function layerSamples(
  bundle: BundleIndex,
  folder: TrainingFolder,
  head: HeadName,
  layerIndex: number,
  split: Pick<HeadSamples, "training" | "heldOut">,
  keptShare: number | null,
): HeadSamples {
  const { hiddenSize, ffn } = bundle.manifest.model;
  const target = head === "lowrank" ? layerIndex : layerIndex + 1;
  const inputs = readInputs(folder, layerIndex);
  const codes = readFileSync(folder.recordPath(target, "codes"));
  if (keptShare !== null) keepLargest(codes, ffn.neuronCount, keptShare);
  return {
    hiddenSize,
    neuronCount: ffn.neuronCount,
    inputs,
    targetInputs: head === "lowrank" ? inputs : readInputs(folder, target),
    codes,
    contributionOfCode: CONTRIBUTION_OF_CODE,
    ...firingMatrix(bundle, target),
    ...split,
  };
}

function readInputs(folder: TrainingFolder, layerIndex: number): Uint16Array {
  const bytes = readFileSync(folder.recordPath(layerIndex, "inputs"));
  return new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);
}

/** Where no activation is exactly zero, only the neurons with the largest contributions of a token count as active: the others get code 0. */
export function keepLargest(codes: Uint8Array, neuronCount: number, keptShare: number): void {
  const histogram = new Uint32Array(256);
  for (let begin = 0; begin < codes.length; begin += neuronCount) {
    const row = codes.subarray(begin, begin + neuronCount);
    histogram.fill(0);
    for (const code of row) histogram[code]!++;
    let lowest = 255;
    let kept = histogram[255]!;
    while (lowest > 1 && kept + histogram[lowest - 1]! <= keptShare * neuronCount)
      kept += histogram[--lowest]!;
    for (let neuron = 0; neuron < neuronCount; neuron++) if (row[neuron]! < lowest) row[neuron] = 0;
  }
}

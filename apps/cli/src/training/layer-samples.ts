import { closeSync, openSync } from "node:fs";
import type { BundleIndex, HeadName } from "@flashlm/contracts";
import type { HeadSamples } from "@flashlm/predictor";
import { CONTRIBUTION_OF_CODE } from "./contribution-code.js";
import { BLOCK_BYTES, readFiringMatrix, readFully } from "./record-vectors.js";
import type { TrainingFolder } from "./training-folder.js";

/** What samples are made of. */
export interface SamplesRequest {
  readonly bundle: BundleIndex;
  readonly folder: TrainingFolder;
  readonly split: Pick<HeadSamples, "training" | "heldOut">;
  /** Share of the neurons that count as active where no activation is exactly zero; null for the ReLU family. */
  readonly keptShare: number | null;
  /** Whether heads that guess the next layer's neurons are trained too. */
  readonly lookAhead: boolean;
}

/** Elements of each array of a layer's samples. */
function elementCounts(
  { bundle, lookAhead }: Pick<SamplesRequest, "bundle" | "lookAhead">,
  tokenCount: number,
): Record<"inputs" | "nextInputs" | "codes" | "weight" | "bias", number> {
  const { hiddenSize, ffn } = bundle.manifest.model;
  return {
    inputs: tokenCount * hiddenSize,
    nextInputs: lookAhead ? tokenCount * hiddenSize : 0,
    codes: tokenCount * ffn.neuronCount,
    weight: ffn.neuronCount * hiddenSize,
    bias: ffn.neuronCount,
  };
}

/** Bytes that {@link LayerSamples} takes, and the block of records that the matrix is read through. */
export function layerSamplesBytes(
  request: Pick<SamplesRequest, "bundle" | "lookAhead">,
  tokenCount: number,
): number {
  const { inputs, nextInputs, codes, weight, bias } = elementCounts(request, tokenCount);
  return 2 * (inputs + nextInputs) + codes + 4 * (weight + bias) + BLOCK_BYTES;
}

/** What heads train on: one layer's records, in memory allocated once. */
export class LayerSamples {
  readonly #request: SamplesRequest;
  readonly #inputs: Uint16Array;
  readonly #nextInputs: Uint16Array;
  readonly #codes: Uint8Array;
  readonly #weight: Float32Array;
  readonly #bias: Float32Array;

  constructor(request: SamplesRequest) {
    const counts = elementCounts(request, request.split.training.length + request.split.heldOut.length);
    this.#request = request;
    this.#inputs = new Uint16Array(counts.inputs);
    this.#nextInputs = new Uint16Array(counts.nextInputs);
    this.#codes = new Uint8Array(counts.codes);
    this.#weight = new Float32Array(counts.weight);
    this.#bias = new Float32Array(counts.bias);
  }

  /** A head's recorded inputs and the contributions of the layer it names. Borrowed until the next call. */
  read(head: HeadName, layerIndex: number): HeadSamples {
    const { bundle, folder, keptShare, split } = this.#request;
    const { hiddenSize, ffn } = bundle.manifest.model;
    const isOwn = head === "lowrank";
    const target = isOwn ? layerIndex : layerIndex + 1;
    readRecords(folder.recordPath(layerIndex, "inputs"), this.#inputs);
    if (!isOwn) readRecords(folder.recordPath(target, "inputs"), this.#nextInputs);
    readRecords(folder.recordPath(target, "codes"), this.#codes);
    if (keptShare !== null) keepLargest(this.#codes, ffn.neuronCount, keptShare);
    const firing = { weight: this.#weight, bias: this.#bias };
    readFiringMatrix(bundle, target, firing);
    return {
      hiddenSize,
      neuronCount: ffn.neuronCount,
      inputs: this.#inputs,
      targetInputs: isOwn ? this.#inputs : this.#nextInputs,
      codes: this.#codes,
      contributionOfCode: CONTRIBUTION_OF_CODE,
      ...firing,
      ...split,
    };
  }
}

function readRecords(path: string, target: Uint16Array | Uint8Array): void {
  const file = openSync(path, "r");
  try {
    readFully(file, new Uint8Array(target.buffer), 0);
  } finally {
    closeSync(file);
  }
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

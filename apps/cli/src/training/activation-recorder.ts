import { writeSync } from "node:fs";
import type { BundleIndex, PredictorPart } from "@flashlm/contracts";
import type { Flight } from "@flashlm/runtime";
import { inputObserver } from "../input-observer.js";
import { codeOfContribution } from "./contribution-code.js";
import { BLOCK_BYTES } from "./record-vectors.js";

/** Where the recorder writes a layer's rows. */
export interface RecordFiles {
  /** bf16 `[tokenCount, hiddenSize]`: file descriptor. */
  readonly inputs: number;
  /** u8 `[tokenCount, neuronCount]`: file descriptor. */
  readonly codes: number;
}

/** A layer's rows of one chunk of tokens, waiting to be complete. */
interface Chunk {
  readonly inputs: Uint16Array;
  readonly codes: Uint8Array;
  tokenCount: number;
}

/**
 * Records what training needs while a model runs: each layer's FFN input as bf16 and each neuron's contribution
 * `abs(h) * norm(down)` as one byte. Holds one layer's rows of one chunk of tokens; everything else is in files.
 */
export class ActivationRecorder {
  readonly #bundle: BundleIndex;
  readonly #files: readonly RecordFiles[];
  readonly #downNorms: readonly Float32Array[];
  /** Tokens written per layer. */
  readonly #written: number[];
  #chunk: Chunk | null = null;
  #layerIndex = -1;

  /** @param firstToken - tokens that the files hold already; rows are appended behind them. */
  constructor(
    bundle: BundleIndex,
    files: readonly RecordFiles[],
    downNorms: readonly Float32Array[],
    firstToken: number,
  ) {
    this.#bundle = bundle;
    this.#files = files;
    this.#downNorms = downNorms;
    this.#written = files.map(() => firstToken);
  }

  /** Engine callback: activations f32 `[tokenCount, neuronCount]` by position within the flight. */
  readonly observe = (flight: Flight, tokenCount: number, activation: Float32Array): void => {
    const { codes } = this.#chunk!;
    const neuronCount = this.#bundle.manifest.model.ffn.neuronCount;
    const norms = this.#downNorms[flight.layerIndex]!;
    for (let token = 0; token < tokenCount; token++) {
      const row = token * neuronCount;
      for (let position = 0; position < flight.count; position++) {
        const value = activation[row + position]!;
        const id = flight.ids[position]!;
        codes[row + id] = value === 0 ? 0 : codeOfContribution(Math.abs(value) * norms[id]!);
      }
    }
  };

  /** A predictor that predicts everything and takes the FFN's input on the way. */
  predictorPart(): PredictorPart {
    const { hiddenSize, ffn } = this.#bundle.manifest.model;
    return inputObserver(
      "recorder",
      (layerIndex, tokenCount, inputs) => {
        this.flush();
        this.#begin(layerIndex, tokenCount, new Uint32Array(inputs.buffer, inputs.byteOffset, inputs.length));
      },
      (tokenCapacity) => {
        this.#chunk = {
          inputs: new Uint16Array(tokenCapacity * hiddenSize),
          codes: new Uint8Array(tokenCapacity * ffn.neuronCount),
          tokenCount: 0,
        };
      },
    );
  }

  #begin(layerIndex: number, tokenCount: number, bits: Uint32Array): void {
    const chunk = this.#chunk!;
    this.#layerIndex = layerIndex;
    chunk.tokenCount = tokenCount;
    for (let index = 0; index < bits.length; index++) chunk.inputs[index] = (bits[index]! + 0x8000) >>> 16;
  }

  /** Writes the rows that are complete; to be called once more after the last token. @throws what the system says of a failed write. */
  flush(): void {
    const chunk = this.#chunk;
    if (!chunk || this.#layerIndex < 0) return;
    const { hiddenSize, ffn } = this.#bundle.manifest.model;
    const { inputs, codes } = this.#files[this.#layerIndex]!;
    const at = this.#written[this.#layerIndex]!;
    const inputBytes = new Uint8Array(chunk.inputs.buffer, 0, chunk.tokenCount * hiddenSize * 2);
    writeFully(inputs, inputBytes, at * hiddenSize * 2);
    writeFully(codes, chunk.codes.subarray(0, chunk.tokenCount * ffn.neuronCount), at * ffn.neuronCount);
    this.#written[this.#layerIndex] = at + chunk.tokenCount;
    this.#layerIndex = -1;
  }
}

/** Bytes that an {@link ActivationRecorder} takes beside the engine that runs `tokenCapacity` tokens at once, and the block of records that norms are read through. */
export function activationRecorderBytes({ manifest }: BundleIndex, tokenCapacity: number): number {
  const { hiddenSize, ffn } = manifest.model;
  const normBytes = manifest.layers.reduce((total, { neuronCount }) => total + 4 * neuronCount, 0);
  return normBytes + tokenCapacity * (2 * hiddenSize + ffn.neuronCount) + BLOCK_BYTES;
}

function writeFully(file: number, bytes: Uint8Array, positionBytes: number): void {
  for (let done = 0; done < bytes.length; )
    done += writeSync(file, bytes, done, bytes.length - done, positionBytes + done);
}

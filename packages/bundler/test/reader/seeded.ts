import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ModelConfig, WeightDtype } from "@flashlm/contracts";
import { type Checkpoint, type SourceTensor, writeBundle } from "../../src/index.js";
import { wantedTensors } from "../../src/sources/canonical-tensors.js";

/** Two layers whose FFN is wide enough for several tiles and odd enough for padding. */
export function seededModel(activation: "silu" | "relu"): ModelConfig {
  return {
    family: "llama",
    architecture: "LlamaForCausalLM",
    hiddenSize: 64,
    layerCount: 2,
    vocabularySize: 50,
    contextLengthMax: 128,
    attention: {
      headCount: 4,
      keyValueHeadCount: 2,
      headDim: 16,
      slidingWindow: null,
      queryKeyValueBias: true,
      outputBias: false,
    },
    rope: { theta: 10_000, rotaryDim: 16, scaling: { kind: "none" }, contextFactors: null },
    ffn: {
      kind: "gated",
      neuronCount: 37,
      activation: { name: activation, threshold: 0 },
      upActivation: "none",
      bias: false,
    },
    norm: { kind: "rms", epsilon: 1e-5 },
    tiedEmbeddings: true,
    tokens: { bos: 1, eos: [2], addBos: true },
  };
}

/** A checkpoint of f32 weights in memory that come from a linear congruential generator. */
export function seededCheckpoint(
  activation: "silu" | "relu" = "relu",
): Checkpoint & { readonly values: ReadonlyMap<string, Float32Array> } {
  const model = seededModel(activation);
  const tensors = new Map<string, SourceTensor>();
  const values = new Map<string, Float32Array>();
  let state = 12_345;
  for (const { name, shape } of wantedTensors(model)) {
    const elementCount = shape.reduce((product, size) => product * size, 1);
    tensors.set(name, { name, sourceType: "F32", shape, lengthBytes: elementCount * 4 });
    const weights = new Float32Array(elementCount);
    for (let index = 0; index < elementCount; index++) {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      weights[index] = state / 2 ** 31 - 1;
    }
    values.set(name, weights);
  }
  return {
    format: "huggingface",
    name: "seeded",
    paths: [join(tmpdir(), "no-such-checkpoint")],
    model,
    tensors,
    values,
    dominantType: "F32",
    configJson: { model_type: "llama" },
    readRows: (name, rowBegin, rowEnd, target) => {
      const columnCount = tensors.get(name)!.shape.at(-1)!;
      target.set(values.get(name)!.subarray(rowBegin * columnCount, rowEnd * columnCount));
    },
    readStored: (name, rowBegin, rowEnd, target) => {
      const columnCount = tensors.get(name)!.shape.at(-1)!;
      const rows = values.get(name)!.subarray(rowBegin * columnCount, rowEnd * columnCount);
      target.set(new Uint8Array(rows.buffer, rows.byteOffset, rows.byteLength));
    },
    close: () => undefined,
  };
}

/** Runs with a folder that is removed afterwards. */
export async function withFolder<Value>(run: (folder: string) => Promise<Value>): Promise<Value> {
  const folder = mkdtempSync(join(tmpdir(), "flashlm-reader-"));
  try {
    return await run(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Writes the seeded checkpoint as `folder/bundle` and returns that path. */
export async function writeSeeded(
  folder: string,
  dtype: WeightDtype,
  activation: "silu" | "relu" = "relu",
): Promise<string> {
  const outPath = join(folder, "bundle");
  await writeBundle(seededCheckpoint(activation), { outPath, dtype, contentHash: "seeded" });
  return outPath;
}

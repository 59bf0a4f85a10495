import { copyFileSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { openCheckpoint } from "../../src/sources/index.js";
import { hasShared, readF32Tensors, SHARED } from "./fixtures.js";

const GGUF = `${SHARED}fixtures/gguf/`;
const CANONICAL: Record<string, string> = {
  "output.weight": "head.weight",
  "token_embd.weight": "embedding.weight",
  "blk.0.attn_output.weight": "layers.0.attention.output.weight",
  "blk.0.attn_v.weight": "layers.0.attention.value.weight",
};

describe.skipIf(!hasShared)("GGUF checkpoints", () => {
  it("dequantises every type exactly as the reference", async () => {
    const expected = readF32Tensors(`${GGUF}expected.safetensors`);
    const seen = new Set<string>();
    for (const [key, { shape, values }] of expected) {
      const match = /^dequantised\.(\w+?)\.((?:blk|output|token).*)$/.exec(key);
      if (match === null) continue;
      const checkpoint = await openCheckpoint(`${GGUF}types-${match[1]}.gguf`);
      const name = CANONICAL[match[2]!]!;
      seen.add(checkpoint.tensors.get(name)!.sourceType);
      const target = new Float32Array(values.length);
      checkpoint.readRows(name, 0, shape[0]!, target);
      expect(Buffer.compare(Buffer.from(target.buffer), Buffer.from(values.buffer)), key).toBe(0);
      const part = new Float32Array(2 * shape[1]!);
      checkpoint.readRows(name, 5, 7, part);
      expect([...part]).toEqual([...values.subarray(5 * shape[1]!, 7 * shape[1]!)]);
      checkpoint.close();
    }
    expect([...seen].sort()).toEqual(
      ["BF16", "F16", "IQ4_NL", "IQ4_XS", "Q2_K", "Q3_K", "Q4_0", "Q4_1", "Q4_K", "Q5_0", "Q5_1", "Q5_K"]
        .concat(["Q6_K", "Q8_0"])
        .sort(),
    );
  });

  it("gives the tensors of the Hugging Face checkpoint of the same weights, query and key rows included", async () => {
    const gguf = await openCheckpoint(`${GGUF}llama-F32.gguf`);
    const folder = await openCheckpoint(`${SHARED}fixtures/families/llama`);
    expect([...gguf.tensors.keys()].sort()).toEqual([...folder.tensors.keys()].sort());
    for (const [name, { shape }] of folder.tensors) {
      const rows = shape.length === 1 ? 1 : shape[0]!;
      const columns = shape.at(-1)!;
      expect(gguf.tensors.get(name)!.shape).toEqual(shape);
      const [a, b] = [new Float32Array(rows * columns), new Float32Array(rows * columns)];
      gguf.readRows(name, 0, rows, a);
      folder.readRows(name, 0, rows, b);
      expect(Buffer.compare(Buffer.from(a.buffer), Buffer.from(b.buffer)), name).toBe(0);
      for (let row = 0; row + 3 <= rows; row += 5) {
        const some = new Float32Array(3 * columns);
        gguf.readRows(name, row, row + 3, some);
        expect(
          Buffer.compare(
            Buffer.from(some.buffer),
            Buffer.from(b.slice(row * columns, (row + 3) * columns).buffer),
          ),
        ).toBe(0);
      }
    }
    const { architecture: _a, norm: normA, tokens: _t, ...modelA } = gguf.model;
    const { architecture: _b, norm: normB, tokens: _u, ...modelB } = folder.model;
    expect(modelA).toEqual(modelB);
    expect(normA.epsilon).toBe(Math.fround(normB.epsilon));
    gguf.close();
    folder.close();
  });

  it("reads the published models", async () => {
    const dense = await openCheckpoint(
      `${SHARED}models/smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf`,
    );
    expect(dense.model).toMatchObject({
      family: "llama",
      hiddenSize: 576,
      layerCount: 30,
      vocabularySize: 49152,
      contextLengthMax: 8192,
      attention: { headCount: 9, keyValueHeadCount: 3, headDim: 64, slidingWindow: null },
      rope: { theta: 100000, rotaryDim: 64, scaling: { kind: "none" }, contextFactors: null },
      ffn: { kind: "gated", neuronCount: 1536, activation: { name: "silu", threshold: 0 }, bias: false },
      tiedEmbeddings: true,
      tokens: { bos: 1, eos: [2], addBos: false },
    });
    expect(dense.dominantType).toBe("Q4_1");
    expect(dense.tensors.has("head.weight")).toBe(false);
    expect((dense.ggufMetadata!["tokenizer.ggml.tokens"] as string[]).length).toBe(49152);
    expect(dense.configJson).toMatchObject({
      model_type: "llama",
      tie_word_embeddings: true,
      hidden_act: "silu",
    });
    dense.close();
    const relu = await openCheckpoint(
      `${SHARED}models/smollm2-135m-relu/SmolLM2-135M-Instruct-ReLU.Q5_1.gguf`,
    );
    expect(relu.model.ffn.activation).toEqual({ name: "relu", threshold: 0 });
    expect(relu.dominantType).toBe("Q5_1");
    relu.close();
    expect(() => relu.readRows("embedding.weight", 0, 1, new Float32Array(576))).toThrowError(/closed/);
  });

  it("opens every fixture", async () => {
    const families = new Set<string>();
    for (const name of readdirSync(GGUF).filter((file) => file.endsWith(".gguf"))) {
      const checkpoint = await openCheckpoint(GGUF + name);
      expect(checkpoint.format).toBe("gguf");
      families.add(checkpoint.model.architecture);
      checkpoint.close();
    }
    expect([...families].sort()).toEqual(["arcee", "llama", "nemotron", "qwen2", "qwen3"]);
  });

  it("names the missing file of a split model", async () => {
    const folder = mkdtempSync(join(tmpdir(), "flashlm-split-"));
    copyFileSync(`${GGUF}llama-F32.gguf`, join(folder, "m-00001-of-00002.gguf"));
    await expect(openCheckpoint(folder)).rejects.toMatchObject({
      code: "CHECKPOINT_MISSING_SHARD",
      details: { shard: "m-00002-of-00002.gguf" },
    });
    rmSync(folder, { recursive: true });
  });
});

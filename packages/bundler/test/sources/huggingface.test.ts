import { copyFileSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { hashCheckpoint, openCheckpoint } from "../../src/sources/index.js";
import { hasShared, readF32Tensors, SHARED } from "./fixtures.js";

const FAMILIES = `${SHARED}fixtures/families/`;
const NAMES = ["llama", "llama-tied-rope3", "llama-relu", "llama-fatrelu", "bamboo", "mistral"];

describe.skipIf(!hasShared)("Hugging Face checkpoints", () => {
  let folder = "";
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "flashlm-folder-"));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  function copyFamily(family: string, config: string): void {
    copyFileSync(`${FAMILIES}${family}/model.safetensors`, join(folder, "model.safetensors"));
    writeFileSync(join(folder, "config.json"), readFileSync(`${FAMILIES}${family}/${config}`));
  }

  function editConfig(edit: (config: Record<string, unknown>) => void): void {
    const config = JSON.parse(readFileSync(join(folder, "config.json"), "utf8"));
    edit(config);
    writeFileSync(join(folder, "config.json"), JSON.stringify(config));
  }

  it.each(NAMES)("reads %s alike from both forms of its config", async (family) => {
    const current = await openCheckpoint(FAMILIES + family);
    copyFamily(family, "config.legacy.json");
    const legacy = await openCheckpoint(folder);
    expect(legacy.model).toEqual(current.model);
    const raw = readF32Tensors(`${FAMILIES}${family}/model.safetensors`);
    const down = new Float32Array(64 * 192);
    legacy.readRows("layers.1.ffn.down.weight", 0, 64, down);
    expect(down).toEqual(raw.get("model.layers.1.mlp.down_proj.weight")!.values);
    expect(current.dominantType).toBe("F32");
    expect(current.model.tokens).toEqual({ bos: 1, eos: [2], addBos: false });
    current.close();
    legacy.close();
  });

  it("understands what is special about each", async () => {
    const models = await Promise.all(
      NAMES.map(async (name) => {
        const checkpoint = await openCheckpoint(FAMILIES + name);
        checkpoint.close();
        return [name, checkpoint.model] as const;
      }),
    );
    const by = Object.fromEntries(models);
    expect(by["llama-tied-rope3"]!.tiedEmbeddings).toBe(true);
    expect(by["llama-tied-rope3"]!.rope).toMatchObject({
      theta: 500000,
      scaling: {
        kind: "llama3",
        factor: 8,
        lowFrequencyFactor: 1,
        highFrequencyFactor: 4,
        originalContextLength: 64,
      },
    });
    expect(by["llama-relu"]!.ffn.activation).toEqual({ name: "relu", threshold: 0 });
    expect(by["llama-fatrelu"]!.ffn.activation).toEqual({ name: "relu", threshold: 0.05 });
    expect(by["bamboo"]!.ffn.upActivation).toBe("relu");
    expect(by["mistral"]!.attention.slidingWindow).toBe(16);
    expect(by["bamboo"]!.attention.slidingWindow).toBeNull();
  });

  it.each(["gpt-oss", "mixtral", "olmoe", "qwen2-moe", "qwen3-moe"])(
    "refuses %s by name, as a mixture of experts",
    async (family) => {
      const { architectures } = JSON.parse(readFileSync(`${FAMILIES}${family}/config.json`, "utf8"));
      await expect(openCheckpoint(FAMILIES + family)).rejects.toMatchObject({
        code: "CHECKPOINT_UNSUPPORTED",
        details: { architecture: architectures[0] },
        message: expect.stringContaining("mixture of experts"),
      });
    },
  );

  it("reports truncation, shards, wrong shapes, unknown activations and quantisation", async () => {
    copyFamily("llama", "config.json");
    editConfig((config) => (config["hidden_size"] = 32));
    await expect(openCheckpoint(folder)).rejects.toMatchObject({ code: "CHECKPOINT_SHAPE" });
    copyFamily("llama", "config.json");
    editConfig((config) => (config["hidden_act"] = "shiftrelu"));
    await expect(openCheckpoint(folder)).rejects.toMatchObject({ code: "CHECKPOINT_UNSUPPORTED" });
    copyFamily("llama", "config.json");
    editConfig((config) => (config["quantization_config"] = { quant_method: "gptq" }));
    await expect(openCheckpoint(folder)).rejects.toMatchObject({ code: "CHECKPOINT_UNSUPPORTED" });
    copyFamily("llama", "config.json");
    editConfig((config) => (config["num_hidden_layers"] = 4));
    await expect(openCheckpoint(folder)).rejects.toMatchObject({ code: "CHECKPOINT_MISSING_TENSOR" });
    copyFamily("llama", "config.json");
    truncateSync(join(folder, "model.safetensors"), 700_000);
    await expect(openCheckpoint(folder)).rejects.toMatchObject({ code: "CHECKPOINT_TRUNCATED" });
    const index = { weight_map: { "lm_head.weight": "model-00001-of-00002.safetensors" } };
    writeFileSync(join(folder, "model.safetensors.index.json"), JSON.stringify(index));
    await expect(openCheckpoint(folder)).rejects.toMatchObject({
      code: "CHECKPOINT_MISSING_SHARD",
      details: { shard: "model-00001-of-00002.safetensors" },
    });
    index.weight_map["lm_head.weight"] = "../secret.safetensors";
    writeFileSync(join(folder, "model.safetensors.index.json"), JSON.stringify(index));
    await expect(openCheckpoint(folder)).rejects.toMatchObject({ code: "CHECKPOINT_FORMAT" });
    await expect(openCheckpoint(join(folder, "absent"))).rejects.toMatchObject({
      code: "CHECKPOINT_NOT_FOUND",
    });
  });

  it("takes end tokens and BOS from the companions", async () => {
    copyFamily("llama", "config.json");
    writeFileSync(join(folder, "generation_config.json"), '{"eos_token_id":[7,9]}');
    writeFileSync(join(folder, "tokenizer_config.json"), '{"add_bos_token":true}');
    const checkpoint = await openCheckpoint(folder);
    expect(checkpoint.model.tokens).toEqual({ bos: 1, eos: [7, 9, 2], addBos: true });
    expect(checkpoint.paths).toHaveLength(4);
    checkpoint.close();
  });

  it("hashes one file as its bytes", async () => {
    const path = join(folder, "abc");
    writeFileSync(path, "abc");
    const progress: number[] = [];
    const hash = await hashCheckpoint([path], (hashed, total) => progress.push(hashed, total));
    expect(hash).toBe("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    expect(progress).toEqual([3, 3]);
    await expect(hashCheckpoint([`${path}d`])).rejects.toMatchObject({ code: "CHECKPOINT_NOT_FOUND" });
  });
});

import { describe, expect, it } from "vitest";
import { huggingFaceModel } from "../../src/sources/huggingface/model.js";

const NO_COMPANIONS = { generationConfig: null, tokenizerConfig: null, tokenizer: null };
const SIZES = {
  hidden_size: 64,
  num_attention_heads: 4,
  num_hidden_layers: 4,
  vocab_size: 96,
  intermediate_size: 80,
};

function modelOf(architecture: string, config: Record<string, unknown>) {
  const whole = { ...SIZES, architectures: [architecture], ...config };
  return huggingFaceModel(whole, NO_COMPANIONS).model;
}

function faultOf(architecture: string, config: Record<string, unknown>): unknown {
  try {
    return modelOf(architecture, config);
  } catch (error) {
    return error;
  }
}

describe("configs", () => {
  it("take what they leave out from their architecture", () => {
    const opt = modelOf("OPTForCausalLM", { ffn_dim: 80 });
    expect(opt).toMatchObject({
      family: "opt",
      tiedEmbeddings: true,
      contextLengthMax: 2048,
      embedding: { positionCount: 2048 },
      ffn: { kind: "plain", activation: { name: "relu" }, bias: true },
      rope: { rotaryDim: 0 },
    });
    expect(modelOf("Qwen3ForCausalLM", { num_key_value_heads: null }).attention).toMatchObject({
      keyValueHeadCount: 4,
      headDim: 128,
      queryKeyNorm: "head",
    });
    expect(modelOf("PhiForCausalLM", {})).toMatchObject({
      rope: { rotaryDim: 8 },
      head: { bias: true },
      ffn: { activation: { name: "gelu_tanh" } },
    });
    expect(modelOf("Gemma2ForCausalLM", {})).toMatchObject({
      attention: {
        softCap: 50,
        scale: 1 / 16,
        slidingWindow: 4096,
        windowLayers: [true, false, true, false],
      },
      embedding: { scale: 8 },
      head: { softCap: 30 },
      tiedEmbeddings: true,
    });
    expect(modelOf("SmolLM3ForCausalLM", {}).rope).toMatchObject({
      theta: 2_000_000,
      rotaryLayers: [true, true, true, false],
    });
  });

  it("of Falcon name its three forms, also by their first keys", () => {
    const norms = (config: Record<string, unknown>) => modelOf("FalconForCausalLM", config).norm.perLayer;
    expect(norms({})).toEqual(["attention_norm"]);
    expect(norms({ new_decoder_architecture: true, num_kv_heads: 2 })).toEqual([
      "attention_norm",
      "ffn_norm",
    ]);
    expect(norms({ new_decoder_architecture: true, num_kv_heads: 2, num_ln_in_parallel_attn: 1 })).toEqual([
      "attention_norm",
    ]);
    const old = {
      num_attention_heads: undefined,
      num_hidden_layers: undefined,
      n_head: 8,
      n_layer: 3,
      multi_query: true,
    };
    expect(modelOf("RWForCausalLM", old)).toMatchObject({
      layerCount: 3,
      attention: { headCount: 8, keyValueHeadCount: 1, headDim: 8 },
      ffn: { neuronCount: 256 },
    });
  });

  it("with ALiBi have the slopes of its paper over the root of the head's size, twice where they name no version", () => {
    const alibi = { alibi: true, multi_query: false, parallel_attn: false, num_attention_heads: 4 };
    const published = modelOf("FalconForCausalLM", { ...alibi, transformers_version: "4.27.4" });
    expect(published.family).toBe("falcon-rw");
    expect(published.attention.alibiSlopes).toEqual([2 ** -4, 2 ** -6, 2 ** -8, 2 ** -10]);
    expect(modelOf("FalconForCausalLM", alibi).attention.alibiSlopes).toEqual([
      2 ** -3,
      2 ** -5,
      2 ** -7,
      2 ** -9,
    ]);
    const six = modelOf("FalconForCausalLM", {
      ...alibi,
      hidden_size: 96,
      num_attention_heads: 6,
      transformers_version: "4.27.4",
    });
    expect(six.attention.alibiSlopes?.map((slope) => slope * 4)).toEqual([
      2 ** -2,
      2 ** -4,
      2 ** -6,
      2 ** -8,
      2 ** -1,
      2 ** -3,
    ]);
  });

  it("say the same of rotary scalings in old and new keys", () => {
    const factors = { short_factor: [1, 1, 1, 1, 1, 1, 1, 1], long_factor: [2, 2, 2, 2, 2, 2, 2, 2] };
    const phi3 = { original_max_position_embeddings: 64, max_position_embeddings: 256 };
    const old = modelOf("Phi3ForCausalLM", { ...phi3, rope_scaling: { type: "su", ...factors } });
    const current = modelOf("Phi3ForCausalLM", {
      ...phi3,
      rope_parameters: { rope_type: "longrope", rope_theta: 10_000, ...factors },
    });
    expect(old.rope).toEqual(current.rope);
    expect(old.rope.scaling).toMatchObject({
      kind: "longrope",
      originalContextLength: 64,
      attentionFactor: Math.sqrt(1 + Math.log(4) / Math.log(64)),
    });
    const gemma = modelOf("Gemma3ForCausalLM", {
      head_dim: 16,
      sliding_window: 8,
      sliding_window_pattern: 2,
      rope_theta: 500_000,
      rope_local_base_freq: 20_000,
      rope_scaling: { rope_type: "linear", factor: 8 },
    });
    expect(gemma.attention.windowLayers).toEqual([true, false, true, false]);
    expect(gemma.rope).toMatchObject({
      theta: 500_000,
      scaling: { kind: "linear", factor: 8 },
      window: { theta: 20_000, scaling: { kind: "none" } },
    });
  });

  it.each([
    ["an activation", "LlamaForCausalLM", { hidden_act: "quick_gelu" }, /quick_gelu/],
    ["a scaling", "LlamaForCausalLM", { rope_scaling: { rope_type: "mrope" } }, /mrope/],
    [
      "a kind of layer",
      "Qwen2ForCausalLM",
      { num_key_value_heads: 2, layer_types: Array(4).fill("linear_attention") },
      /layer_types/,
    ],
    ["bidirectional attention", "Gemma3ForCausalLM", { use_bidirectional_attention: true }, /bidirectional/],
    ["an odd rotary share", "PhiForCausalLM", { partial_rotary_factor: 0.2 }, /partial_rotary_factor/],
    ["heads that do not divide", "LlamaForCausalLM", { num_key_value_heads: 3 }, /num_key_value_heads/],
    [
      "layers of their own rope",
      "LlamaForCausalLM",
      { rope_parameters: { full_attention: {} } },
      /layer type/,
    ],
    ["an architecture", "Zamba2ForCausalLM", {}, /Zamba2ForCausalLM/],
    ["experts", "Qwen3MoeForCausalLM", {}, /mixture of experts/],
  ] as const)("are refused for %s that cannot be run", (_what, architecture, config, message) => {
    const fault = faultOf(architecture, config) as { code?: string; message?: string };
    expect(fault.code).toMatch(/^CHECKPOINT_(UNSUPPORTED|FORMAT)$/);
    expect(fault.message).toMatch(message);
  });
});

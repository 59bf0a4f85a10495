import { type LlamaPart, llamaTensors, type TensorContext } from "./family-tensors.js";
import type { SyntheticTensor } from "./fill-recipe.js";

const LAYER_NAMES: Readonly<Record<LlamaPart, string>> = {
  attentionNorm: "input_layernorm",
  query: "self_attn.q_proj",
  key: "self_attn.k_proj",
  value: "self_attn.v_proj",
  output: "self_attn.o_proj",
  ffnNorm: "post_attention_layernorm",
  gate: "mlp.gate_proj",
  up: "mlp.up_proj",
  down: "mlp.down_proj",
};

/** The tensors of a Llama shape as `LlamaForCausalLM` stores them. */
export function llamaHuggingFaceTensors(context: TensorContext): SyntheticTensor[] {
  return llamaTensors(context, {
    embedding: "model.embed_tokens.weight",
    finalNorm: "model.norm",
    head: "lm_head.weight",
    layer: (layerIndex, part) => `model.layers.${layerIndex}.${LAYER_NAMES[part]}.weight`,
  });
}

import type { KernelOp } from "@flashlm/contracts";
import type { ModelFamily } from "./family.js";
import type { LayerOps } from "./layer-ops.js";

/** A norm before attention and another before the FFN, one after the other: the block of most decoders. */
export function sequentialBlock(layer: LayerOps): KernelOp[] {
  return [
    layer.norm("attention_norm", layer.hidden, layer.normed),
    ...layer.attend(layer.normed),
    layer.project("attention.output", layer.attended, layer.hidden, "add"),
    layer.norm("ffn_norm", layer.hidden, layer.normed),
  ];
}

/**
 * Llama, Mistral, Bamboo, Qwen2, Phi-3, SmolLM3, Arcee and their ReLU forms (arXiv 2302.13971, 2310.06825, 2406.05955, 2407.10671, 2404.14219):
 *
 *     x + W_o attention(rope(W_q n), rope(W_k n), W_v n)   with n = rmsnorm(x)
 *     then rmsnorm again, the input of the FFN
 *
 * They differ in numbers only: biases, windows, layers without rope, gated or plain FFNs.
 */
export const llamaFamily: ModelFamily = { name: "llama", attention: sequentialBlock };

/** Qwen3 (arXiv 2505.09388): Llama's block with an rmsnorm of each query and key head before rope. */
export const qwen3Family: ModelFamily = { name: "qwen3", attention: sequentialBlock };

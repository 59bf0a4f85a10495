import type { KernelOp } from "@flashlm/contracts";
import type { ModelFamily } from "./family.js";
import type { LayerOps } from "./layer-ops.js";

/** The FFN's result is normed before it joins the residual stream. */
function joinFfn(layer: LayerOps): KernelOp[] {
  return [
    layer.norm("ffn_output_norm", layer.ffnOutput, layer.ffnOutput),
    layer.add(layer.ffnOutput, layer.hidden),
  ];
}

/** Attention's result likewise; then the branch is empty for the FFN. */
function joinAttention(layer: LayerOps): KernelOp[] {
  return [
    layer.project("attention.output", layer.attended, layer.ffnOutput),
    layer.norm("attention_output_norm", layer.ffnOutput, layer.ffnOutput),
    layer.add(layer.ffnOutput, layer.hidden),
    layer.clear(layer.ffnOutput),
  ];
}

/**
 * Gemma 2 and 3 (arXiv 2408.00118, 2503.19786), norms on both sides:
 *
 *     x + rmsnorm(attention(rmsnorm(x)))
 *     x + rmsnorm(ffn(rmsnorm(x)))
 *
 * Layers with a window alternate with others; Gemma 2 caps scores and logits, Gemma 3 norms queries and keys.
 */
export const gemmaFamily: ModelFamily = {
  name: "gemma",
  attention: (layer: LayerOps): KernelOp[] => [
    layer.norm("attention_norm", layer.hidden, layer.normed),
    ...layer.attend(layer.normed),
    ...joinAttention(layer),
    layer.norm("ffn_norm", layer.hidden, layer.normed),
  ],
  afterFfn: joinFfn,
};

/**
 * OLMo 2 (arXiv 2501.00656), norms on the outputs only, and one of all queries, one of all keys:
 *
 *     x + rmsnorm(attention(x))
 *     x + rmsnorm(ffn(x))
 */
export const olmo2Family: ModelFamily = {
  name: "olmo2",
  attention: (layer: LayerOps): KernelOp[] => [
    ...layer.attend(layer.hidden),
    ...joinAttention(layer),
    layer.copy(layer.hidden, layer.normed),
  ],
  afterFfn: joinFfn,
};

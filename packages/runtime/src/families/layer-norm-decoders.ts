import type { KernelOp } from "@flashlm/contracts";
import type { ModelFamily } from "./family.js";
import type { LayerOps } from "./layer-ops.js";
import { sequentialBlock } from "./llama.js";

/** Nemotron (arXiv 2402.16819): Llama's block with layer norms, rope on part of each head, and a squared ReLU in a plain FFN. */
export const nemotronFamily: ModelFamily = { name: "nemotron", attention: sequentialBlock };

/** Persimmon (Adept, 2023): as Nemotron, with biases and a layer norm of each query and key head before rope. */
export const persimmonFamily: ModelFamily = { name: "persimmon", attention: sequentialBlock };

/** OPT (arXiv 2205.01068): layer norms before attention and FFN; positions are learned and stand in the residual stream. */
export const optFamily: ModelFamily = { name: "opt", attention: sequentialBlock };

/**
 * OPT-350M: the norms stand behind the sums, as in the first transformer (arXiv 1706.03762):
 *
 *     x = layernorm(x + W_o attention(W_q x, W_k x, W_v x))
 *     x = layernorm(x + ffn(x))
 */
export const optPostNormFamily: ModelFamily = {
  name: "opt-post-norm",
  attention: (layer: LayerOps): KernelOp[] => [
    ...layer.attend(layer.hidden),
    layer.project("attention.output", layer.attended, layer.hidden, "add"),
    layer.norm("attention_norm", layer.hidden, layer.hidden),
    layer.copy(layer.hidden, layer.normed),
  ],
  afterFfn: (layer: LayerOps): KernelOp[] => [layer.norm("ffn_norm", layer.hidden, layer.hidden)],
};

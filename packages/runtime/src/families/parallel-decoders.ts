import type { KernelOp } from "@flashlm/contracts";
import type { ModelFamily } from "./family.js";
import type { LayerOps } from "./layer-ops.js";
import { sequentialBlock } from "./llama.js";

/**
 * Attention and FFN side by side (arXiv 2204.02311, section 2):
 *
 *     x + W_o attention(n) + ffn(n)     with n = layernorm(x), or a second norm of x for the FFN
 *
 * Both read the residual stream as it was before either has added to it.
 */
function parallelBlock(layer: LayerOps): KernelOp[] {
  return [
    layer.norm("attention_norm", layer.hidden, layer.normed),
    ...layer.attend(layer.normed),
    ...(layer.hasNorm("ffn_norm") ? [layer.norm("ffn_norm", layer.hidden, layer.normed)] : []),
    layer.project("attention.output", layer.attended, layer.hidden, "add"),
  ];
}

/** Falcon 7B and 40B (arXiv 2311.16867): one key/value head, or a few; 40B has a norm of its own for the FFN. */
export const falconFamily: ModelFamily = { name: "falcon", attention: parallelBlock };

/** Falcon-RW (arXiv 2306.01116): one after the other, with biases, and ALiBi in place of rope. */
export const falconRwFamily: ModelFamily = { name: "falcon-rw", attention: sequentialBlock };

/** Phi-1 to Phi-2 (arXiv 2309.05463): biases, rope on part of each head. */
export const phiFamily: ModelFamily = { name: "phi", attention: parallelBlock };

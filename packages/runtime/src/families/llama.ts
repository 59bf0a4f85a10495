import type { KernelOp, VectorRef } from "@flashlm/contracts";
import type { LayerContext, ModelFamily } from "./family.js";

function need(vector: VectorRef | undefined): VectorRef {
  if (!vector) throw new Error("a norm of the Llama family must have a weight");
  return vector;
}

/** Stores the layer's keys and values and attends to all that are stored. */
function attend(context: LayerContext): KernelOp[] {
  const { bundle, plan, state, layerIndex } = context;
  const { attention } = bundle.manifest.model;
  const tokenCount = state.tokenCountWord;
  const position = state.positionWord;
  const keyValueDim = attention.keyValueHeadCount * attention.headDim;
  const keyCache = state.keyCache[layerIndex]!;
  const valueCache = state.valueCache[layerIndex]!;
  return [
    {
      op: "storeKeyValue",
      cacheDtype: plan.cacheDtype,
      tokenCount,
      position,
      keys: state.key,
      values: state.value,
      keyCache,
      valueCache,
      keyValueDim,
      capacityTokens: plan.contextLength,
    },
    {
      op: "attention",
      cacheDtype: plan.cacheDtype,
      tokenCount,
      position,
      query: state.query,
      keyCache,
      valueCache,
      target: state.attended,
      headCount: attention.headCount,
      keyValueHeadCount: attention.keyValueHeadCount,
      headDim: attention.headDim,
      scale: 1 / Math.sqrt(attention.headDim),
      window: attention.slidingWindow,
      capacityTokens: plan.contextLength,
    },
  ];
}

/**
 * Llama, Mistral, Bamboo and their ReLU forms (arXiv 2302.13971, 2310.06825, 2406.05955):
 *
 *     x + W_o attention(rope(W_q n), rope(W_k n), W_v n)   with n = rmsnorm(x)
 *     then rmsnorm again, the input of the gated FFN
 */
export const llamaFamily: ModelFamily = {
  name: "llama",
  attention(context: LayerContext): KernelOp[] {
    const { bundle, state } = context;
    const { attention, hiddenSize, norm, rope } = bundle.manifest.model;
    const tokenCount = state.tokenCountWord;
    const position = state.positionWord;
    const project = (name: string, target: typeof state.query): KernelOp => {
      const bias = context.vector(`attention.${name}.bias`);
      return {
        op: "matmul",
        tokenCount,
        weight: context.weight(`attention.${name}.weight`),
        source: state.normed,
        target,
        accumulate: false,
        ...(bias ? { bias } : {}),
      };
    };
    const normalise = (name: string): KernelOp => ({
      op: "norm",
      kind: "rms",
      tokenCount,
      rowsPerToken: 1,
      dim: hiddenSize,
      epsilon: norm.epsilon,
      source: state.hidden,
      target: state.normed,
      weight: need(context.vector(name)),
    });
    const rotate = (vector: typeof state.query, headCount: number): KernelOp => ({
      op: "rope",
      tokenCount,
      position,
      vector,
      headCount,
      headDim: attention.headDim,
      rotaryDim: rope.rotaryDim,
      table: state.ropeTable,
    });
    const outputBias = context.vector("attention.output.bias");
    return [
      normalise("attention_norm.weight"),
      project("query", state.query),
      project("key", state.key),
      project("value", state.value),
      rotate(state.query, attention.headCount),
      rotate(state.key, attention.keyValueHeadCount),
      ...attend(context),
      {
        op: "matmul",
        tokenCount,
        weight: context.weight("attention.output.weight"),
        source: state.attended,
        target: state.hidden,
        accumulate: true,
        ...(outputBias ? { bias: outputBias } : {}),
      },
      normalise("ffn_norm.weight"),
    ];
  },
};

import { type ConfigValues, MODEL_LIMITS } from "../config-values.js";
import { decoderShape, type HuggingFaceArchitecture, type ModelShape } from "./architecture.js";

/** Rows of the position table before position 0. */
const POSITION_OFFSET = 2;

/** OPT (arXiv 2205.01068): ReLU, learned positions, biases; of 350M the norms stand behind the sums and embeddings are narrower. */
export const OPT: HuggingFaceArchitecture = {
  names: ["OPTForCausalLM"],
  modelTypes: ["opt"],
  tensors: {
    basePrefix: "model.decoder.",
    layerPrefix: "layers.",
    globals: {
      embed_tokens: "embedding",
      project_in: "embedding.projection",
      project_out: "head.projection",
      final_layer_norm: "final_norm",
      lm_head: "head",
    },
    layer: {
      self_attn_layer_norm: "attention_norm",
      "self_attn.q_proj": "attention.query",
      "self_attn.k_proj": "attention.key",
      "self_attn.v_proj": "attention.value",
      "self_attn.out_proj": "attention.output",
      final_layer_norm: "ffn_norm",
      fc1: "ffn.up",
      fc2: "ffn.down",
    },
    fused: ({ embedding }) => {
      const rowCount = embedding?.positionCount ?? 0;
      const runs = { firstRow: POSITION_OFFSET, runRows: rowCount, strideRows: rowCount };
      return {
        embed_positions: {
          rowCount: rowCount + POSITION_OFFSET,
          parts: [{ stem: "position", rowCount, runs }],
        },
      };
    },
    normsWithoutWeights: (values) => !values.boolean("layer_norm_elementwise_affine", true),
  },
  shape(values: ConfigValues): ModelShape {
    const hasBias = values.boolean("enable_bias", true);
    const shape = decoderShape(values.without("head_dim", "num_key_value_heads"), {
      family: "opt",
      contextLengthMax: 2048,
      queryKeyValueBias: hasBias,
      outputBias: hasBias,
      ffnBias: hasBias,
      ffnKind: "plain",
      activationKey: "activation_function",
      activation: "relu",
      neuronCountKey: "ffn_dim",
      norm: "layer",
      epsilon: 1e-5,
      tied: true,
    });
    const isBefore = values.boolean("do_layer_norm_before", true);
    const hasFinalNorm = isBefore && !values.boolean("_remove_final_layer_norm", false);
    const isAffine = values.boolean("layer_norm_elementwise_affine", true);
    const width = values.count("word_embed_proj_dim", MODEL_LIMITS.hiddenSize, shape.hiddenSize);
    return {
      ...shape,
      family: isBefore ? "opt" : "opt-post-norm",
      rope: { theta: shape.rope.theta, rotaryDim: 0, scaling: { kind: "none" }, contextFactors: null },
      norm: {
        ...shape.norm,
        epsilon: 1e-5,
        ...(isAffine ? {} : { bias: false }),
        ...(hasFinalNorm ? {} : { final: false }),
      },
      embedding: {
        positionCount: shape.contextLengthMax,
        ...(width === shape.hiddenSize ? {} : { width }),
      },
    };
  },
};

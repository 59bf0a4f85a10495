import type { ModelConfig } from "@flashlm/contracts";
import { activationOf } from "../activation-names.js";
import { type ConfigValues, MODEL_LIMITS } from "../config-values.js";
import type { RowRuns } from "../tensor-rows.js";
import { type RopeDefaults, ropeOf } from "./rope.js";

/** A model without what does not depend on the architecture. */
export type ModelShape = Omit<ModelConfig, "architecture" | "tokens">;

/** One tensor within a fused one. */
export interface FusedPart {
  readonly stem: string;
  readonly rowCount: number;
  readonly runs: RowRuns;
}

/** A tensor that holds several of ours. `rowCount` is what it must have in all. */
export interface FusedTensor {
  readonly rowCount: number;
  readonly parts: readonly FusedPart[];
}

/** How an architecture names its tensors; names are without `.weight` and `.bias`, ours on the right. */
export interface TensorNames {
  /** What may stand before every name but the head's: checkpoints of the bare model lack it. */
  readonly basePrefix: string;
  /** What stands before the number of a layer. */
  readonly layerPrefix: string;
  readonly globals: Readonly<Record<string, string>>;
  readonly layer: Readonly<Record<string, string>>;
  /** Fused tensors, of layers and outside them. */
  readonly fused?: (model: ModelShape) => Readonly<Record<string, FusedTensor>>;
  /** Weights of norms are stored less 1. */
  readonly normsLessOne?: boolean;
  /** Norms have no weights at all, which is the same as ones. */
  readonly normsWithoutWeights?: (values: ConfigValues) => boolean;
}

/** An architecture of Hugging Face checkpoints. */
export interface HuggingFaceArchitecture {
  /** Names in `architectures`; the first one is meant where only `model_type` is given. */
  readonly names: readonly string[];
  readonly modelTypes: readonly string[];
  readonly tensors: TensorNames;
  /** @throws CHECKPOINT_UNSUPPORTED, CHECKPOINT_FORMAT. */
  shape(values: ConfigValues): ModelShape;
}

/** What an architecture assumes for keys that a config leaves out, and how it calls them. */
export interface ShapeDefaults {
  readonly family: string;
  readonly contextLengthMax: number;
  /** Absent: as many as heads. */
  readonly keyValueHeadCount?: number;
  /** Absent: hidden size / heads. */
  readonly headDim?: number;
  readonly rope?: RopeDefaults;
  /** true and false where the config cannot say otherwise; "attention_bias" where it can. Default false. */
  readonly queryKeyValueBias?: boolean | "attention_bias";
  readonly outputBias?: boolean | "attention_bias";
  readonly ffnBias?: boolean | "mlp_bias";
  readonly ffnKind?: "gated" | "plain";
  readonly activationKey?: string;
  readonly activation?: string;
  readonly neuronCountKey?: string;
  readonly norm?: "rms" | "layer";
  readonly epsilonKey?: string;
  readonly epsilon?: number;
  readonly tied?: boolean;
}

/** The shape of a decoder with rotary positions and a norm before attention and FFN; others change what differs. */
export function decoderShape(values: ConfigValues, defaults: ShapeDefaults): ModelShape {
  const hiddenSize = values.count("hidden_size", MODEL_LIMITS.hiddenSize);
  const headCount = values.count("num_attention_heads", MODEL_LIMITS.headCount);
  const headDim = values.count("head_dim", MODEL_LIMITS.headDim, defaults.headDim ?? hiddenSize / headCount);
  const keyValueHeadCount = values.count(
    "num_key_value_heads",
    headCount,
    defaults.keyValueHeadCount ?? headCount,
  );
  if (headCount % keyValueHeadCount !== 0)
    values.fail("num_key_value_heads", `a divisor of the ${headCount} heads`);
  const flag = (value: boolean | string | undefined): boolean =>
    typeof value === "string" ? values.boolean(value, false) : (value ?? false);
  return {
    family: defaults.family,
    hiddenSize,
    layerCount: values.count("num_hidden_layers", MODEL_LIMITS.layerCount),
    vocabularySize: values.count("vocab_size", MODEL_LIMITS.vocabularySize),
    contextLengthMax: values.count(
      "max_position_embeddings",
      MODEL_LIMITS.contextLength,
      defaults.contextLengthMax,
    ),
    attention: {
      headCount,
      keyValueHeadCount,
      headDim,
      slidingWindow: null,
      queryKeyValueBias: flag(defaults.queryKeyValueBias),
      outputBias: flag(defaults.outputBias),
    },
    rope: ropeOf(values, headDim, defaults.rope ?? {}),
    ffn: {
      kind: defaults.ffnKind ?? "gated",
      neuronCount: values.count(defaults.neuronCountKey ?? "intermediate_size", MODEL_LIMITS.neuronCount),
      activation: activationOf(values, defaults.activationKey ?? "hidden_act", defaults.activation),
      upActivation: "none",
      bias: flag(defaults.ffnBias),
    },
    norm: {
      kind: defaults.norm ?? "rms",
      epsilon: values.number(defaults.epsilonKey ?? "rms_norm_eps", defaults.epsilon ?? 1e-6, 0),
    },
    tiedEmbeddings: values.boolean("tie_word_embeddings", defaults.tied ?? false),
  };
}

/** Query, key and value rows side by side per key/value head: its queries, its key, its value. */
export function groupedQueryKeyValue({ attention }: ModelShape): FusedTensor {
  const { headCount, headDim, keyValueHeadCount } = attention;
  const queryRows = (headCount / keyValueHeadCount) * headDim;
  const strideRows = queryRows + 2 * headDim;
  const part = (stem: string, firstRow: number, runRows: number): FusedPart => ({
    stem: `attention.${stem}`,
    rowCount: keyValueHeadCount * runRows,
    runs: { firstRow, runRows, strideRows },
  });
  return {
    rowCount: keyValueHeadCount * strideRows,
    parts: [
      part("query", 0, queryRows),
      part("key", queryRows, headDim),
      part("value", queryRows + headDim, headDim),
    ],
  };
}

/** Tensors one below the other. */
export function stacked(parts: readonly (readonly [stem: string, rowCount: number])[]): FusedTensor {
  let firstRow = 0;
  const placed = parts.map(([stem, rowCount]): FusedPart => {
    const runs = { firstRow, runRows: rowCount, strideRows: rowCount };
    firstRow += rowCount;
    return { stem, rowCount, runs };
  });
  return { rowCount: firstRow, parts: placed };
}

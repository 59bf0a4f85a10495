import type { FillRecipe, Lane, SyntheticTensor } from "./fill-recipe.js";
import { EMBEDDING_DEVIATION, type LayerPlan, POSITION_VARIANCE, planLayer } from "./layer-plan.js";
import type { SyntheticPreset } from "./presets.js";
import { combineSeeds, RandomGenerator } from "./random.js";
import type { TokenCode } from "./token-code.js";

/** Deviation of logits: some tokens are clearly likelier than others, and none is certain. */
const LOGIT_DEVIATION = 2.5;
/** Deviation of an untied head's elements. */
const HEAD_DEVIATION = 0.02;
/** Value of the constant element of FFN inputs where a norm's bias provides it: that of a strong direction. */
const NORM_LANE: Lane = { index: 0, value: 6 };
/** The same where it lives in the residual stream, in deviations of the embedding. */
const RESIDUAL_LANE: Lane = { index: 0, value: 6 };

/** What the tensors of a checkpoint are made from. */
export interface TensorContext {
  readonly preset: SyntheticPreset;
  readonly seed: number;
  readonly code: TokenCode;
}

/** Collects tensors in the order of a checkpoint. */
export class TensorList {
  readonly tensors: SyntheticTensor[] = [];
  readonly context: TensorContext;
  readonly hiddenSize: number;

  constructor(context: TensorContext) {
    this.context = context;
    this.hiddenSize = context.preset.shape.hiddenSize;
  }

  add(name: string, shape: readonly number[], recipe: FillRecipe): void {
    this.tensors.push({ name, shape, recipe });
  }

  normal(name: string, shape: readonly number[], deviation: number): void {
    this.add(name, shape, { kind: "normal", deviation });
  }

  constant(name: string, length: number, value: number): void {
    this.add(name, [length], { kind: "constant", value });
  }

  values(name: string, values: ArrayLike<number>): void {
    this.add(name, [values.length], { kind: "values", values: Float32Array.from(values) });
  }

  /** Weight and bias of a LayerNorm that changes nothing. */
  plainNorm(name: string, length: number = this.hiddenSize): void {
    this.constant(`${name}.weight`, length, 1);
    this.constant(`${name}.bias`, length, 0);
  }

  /** A LayerNorm before an FFN: one element is the same for every token, so that a predictor without a bias can learn thresholds. */
  laneNorm(name: string): void {
    const weight = new Float32Array(this.hiddenSize).fill(1);
    const bias = new Float32Array(this.hiddenSize);
    weight[NORM_LANE.index] = 0;
    bias[NORM_LANE.index] = NORM_LANE.value;
    this.values(`${name}.weight`, weight);
    this.values(`${name}.bias`, bias);
  }

  /** The projection behind {@link laneNorm}: the constant element adds `laneWeights` times its value, or nothing. */
  laneProjection(name: string, laneWeights: Float32Array | null, plan: LayerPlan): void {
    const { neuronCount } = this.context.preset.shape;
    const values = laneWeights ?? new Float32Array(neuronCount);
    this.add(name, [neuronCount, this.hiddenSize], {
      kind: "normal",
      deviation: plan.inputDeviation,
      column: { index: NORM_LANE.index, values },
    });
  }

  embedding(name: string, lane: Lane | null = null): void {
    const { code, preset } = this.context;
    this.add(name, [preset.shape.vocabularySize, this.hiddenSize], {
      kind: "embedding",
      code,
      deviation: EMBEDDING_DEVIATION,
      lane,
    });
  }

  /** The last norm: its signs are random, so that the likeliest token is another one than the last. */
  finalNorm(name: string, hasBias: boolean, headDeviation: number): void {
    const random = new RandomGenerator(combineSeeds(this.context.seed, 0xf1a1));
    const scale = LOGIT_DEVIATION / (Math.sqrt(this.hiddenSize) * headDeviation);
    this.values(
      `${name}.weight`,
      Float32Array.from({ length: this.hiddenSize }, () => (random.unit() < 0.5 ? -scale : scale)),
    );
    if (hasBias) this.constant(`${name}.bias`, this.hiddenSize, 0);
  }

  plan(layerIndex: number): LayerPlan {
    return planLayer(this.context.preset, layerIndex, this.context.seed);
  }
}

const negated = (thresholds: Float64Array): Float32Array => Float32Array.from(thresholds, (value) => -value);

/** OPT (arXiv 2205.01068), pre-norm, as `OPTForCausalLM` stores it. */
export function optTensors(context: TensorContext): SyntheticTensor[] {
  const list = new TensorList(context);
  const { hiddenSize, layerCount, neuronCount, contextLengthMax } = context.preset.shape;
  list.embedding("model.decoder.embed_tokens.weight");
  // The model adds 2 to every position.
  list.normal(
    "model.decoder.embed_positions.weight",
    [contextLengthMax + 2, hiddenSize],
    EMBEDDING_DEVIATION * Math.sqrt(POSITION_VARIANCE),
  );
  list.finalNorm("model.decoder.final_layer_norm", true, EMBEDDING_DEVIATION);
  for (let layer = 0; layer < layerCount; layer++) {
    const plan = list.plan(layer);
    const name = (suffix: string): string => `model.decoder.layers.${layer}.${suffix}`;
    list.plainNorm(name("self_attn_layer_norm"));
    for (const part of ["k_proj", "v_proj", "q_proj"]) {
      list.normal(name(`self_attn.${part}.weight`), [hiddenSize, hiddenSize], plan.inputDeviation);
      list.constant(name(`self_attn.${part}.bias`), hiddenSize, 0);
    }
    list.normal(name("self_attn.out_proj.weight"), [hiddenSize, hiddenSize], plan.attentionOutputDeviation);
    list.constant(name("self_attn.out_proj.bias"), hiddenSize, 0);
    list.laneNorm(name("final_layer_norm"));
    list.laneProjection(name("fc1.weight"), null, plan);
    list.values(name("fc1.bias"), negated(plan.thresholds));
    list.normal(name("fc2.weight"), [hiddenSize, neuronCount], plan.downDeviation);
    list.constant(name("fc2.bias"), hiddenSize, 0);
  }
  return list.tensors;
}

/** Falcon-7B (arXiv 2311.16867), parallel block with one key and value head, relufied; thresholds come through the norm's bias. */
export function falconTensors(context: TensorContext): SyntheticTensor[] {
  const list = new TensorList(context);
  const { hiddenSize, layerCount, neuronCount, headCount } = context.preset.shape;
  const headDim = hiddenSize / headCount;
  list.embedding("transformer.word_embeddings.weight");
  for (let layer = 0; layer < layerCount; layer++) {
    const plan = list.plan(layer);
    const name = (suffix: string): string => `transformer.h.${layer}.${suffix}`;
    list.laneNorm(name("input_layernorm"));
    list.normal(
      name("self_attention.query_key_value.weight"),
      [hiddenSize + 2 * headDim, hiddenSize],
      plan.inputDeviation,
    );
    list.normal(name("self_attention.dense.weight"), [hiddenSize, hiddenSize], plan.attentionOutputDeviation);
    const laneWeights = Float32Array.from(plan.thresholds, (value) => -value / NORM_LANE.value);
    list.laneProjection(name("mlp.dense_h_to_4h.weight"), laneWeights, plan);
    list.normal(name("mlp.dense_4h_to_h.weight"), [hiddenSize, neuronCount], plan.downDeviation);
  }
  list.finalNorm("transformer.ln_f", true, EMBEDDING_DEVIATION);
  return list.tensors;
}

/** Persimmon-8B (Adept, 2023): squared ReLU, norms on queries and keys, biases. */
export function persimmonTensors(context: TensorContext): SyntheticTensor[] {
  const list = new TensorList(context);
  const { hiddenSize, layerCount, neuronCount, headCount, vocabularySize } = context.preset.shape;
  list.embedding("model.embed_tokens.weight");
  for (let layer = 0; layer < layerCount; layer++) {
    const plan = list.plan(layer);
    const name = (suffix: string): string => `model.layers.${layer}.${suffix}`;
    list.normal(name("self_attn.query_key_value.weight"), [3 * hiddenSize, hiddenSize], plan.inputDeviation);
    list.constant(name("self_attn.query_key_value.bias"), 3 * hiddenSize, 0);
    list.normal(name("self_attn.dense.weight"), [hiddenSize, hiddenSize], plan.attentionOutputDeviation);
    list.constant(name("self_attn.dense.bias"), hiddenSize, 0);
    list.plainNorm(name("self_attn.q_layernorm"), hiddenSize / headCount);
    list.plainNorm(name("self_attn.k_layernorm"), hiddenSize / headCount);
    list.plainNorm(name("input_layernorm"));
    list.laneNorm(name("post_attention_layernorm"));
    list.laneProjection(name("mlp.dense_h_to_4h.weight"), null, plan);
    list.values(name("mlp.dense_h_to_4h.bias"), negated(plan.thresholds));
    list.normal(name("mlp.dense_4h_to_h.weight"), [hiddenSize, neuronCount], plan.downDeviation);
    list.constant(name("mlp.dense_4h_to_h.bias"), hiddenSize, 0);
  }
  list.finalNorm("model.final_layernorm", true, HEAD_DEVIATION);
  list.normal("lm_head.weight", [vocabularySize, hiddenSize], HEAD_DEVIATION);
  return list.tensors;
}

/** Phi-2 (Microsoft, 2023): parallel block with one norm, biases everywhere, relufied. */
export function phiTensors(context: TensorContext): SyntheticTensor[] {
  const list = new TensorList(context);
  const { hiddenSize, layerCount, neuronCount, vocabularySize } = context.preset.shape;
  list.embedding("model.embed_tokens.weight");
  for (let layer = 0; layer < layerCount; layer++) {
    const plan = list.plan(layer);
    const name = (suffix: string): string => `model.layers.${layer}.${suffix}`;
    list.laneNorm(name("input_layernorm"));
    for (const part of ["q_proj", "k_proj", "v_proj"]) {
      list.normal(name(`self_attn.${part}.weight`), [hiddenSize, hiddenSize], plan.inputDeviation);
      list.constant(name(`self_attn.${part}.bias`), hiddenSize, 0);
    }
    list.normal(name("self_attn.dense.weight"), [hiddenSize, hiddenSize], plan.attentionOutputDeviation);
    list.constant(name("self_attn.dense.bias"), hiddenSize, 0);
    list.laneProjection(name("mlp.fc1.weight"), null, plan);
    list.values(name("mlp.fc1.bias"), negated(plan.thresholds));
    list.normal(name("mlp.fc2.weight"), [hiddenSize, neuronCount], plan.downDeviation);
    list.constant(name("mlp.fc2.bias"), hiddenSize, 0);
  }
  list.finalNorm("model.final_layernorm", true, HEAD_DEVIATION);
  list.normal("lm_head.weight", [vocabularySize, hiddenSize], HEAD_DEVIATION);
  list.constant("lm_head.bias", vocabularySize, 0);
  return list.tensors;
}

/** Names of the tensors of a Llama model in one format. */
export interface LlamaNames {
  readonly embedding: string;
  readonly finalNorm: string;
  readonly head: string;
  layer(layerIndex: number, part: LlamaPart): string;
}

/** Parts of a Llama layer. */
export type LlamaPart =
  | "attentionNorm"
  | "query"
  | "key"
  | "value"
  | "output"
  | "ffnNorm"
  | "gate"
  | "up"
  | "down";

/**
 * Llama 2 (arXiv 2307.09288). It has no biases, so one element of the residual stream is the same for every token: embeddings set it, no layer writes
 * it, and the gates take their thresholds from it.
 */
export function llamaTensors(context: TensorContext, names: LlamaNames): SyntheticTensor[] {
  const list = new TensorList(context);
  const { hiddenSize, layerCount, neuronCount, vocabularySize } = context.preset.shape;
  const lane: Lane = { index: RESIDUAL_LANE.index, value: RESIDUAL_LANE.value * EMBEDDING_DEVIATION };
  list.embedding(names.embedding, lane);
  for (let layer = 0; layer < layerCount; layer++) {
    const plan = list.plan(layer);
    const name = (part: LlamaPart): string => names.layer(layer, part);
    const writing = (part: LlamaPart, columnCount: number, deviation: number): void =>
      list.add(name(part), [hiddenSize, columnCount], { kind: "normal", deviation, zeroRow: lane.index });
    list.constant(name("attentionNorm"), hiddenSize, 1);
    for (const part of ["query", "key", "value"] as const)
      list.normal(name(part), [hiddenSize, hiddenSize], plan.inputDeviation);
    writing("output", hiddenSize, plan.attentionOutputDeviation);
    list.constant(name("ffnNorm"), hiddenSize, 1);
    list.add(name("gate"), [neuronCount, hiddenSize], {
      kind: "normal",
      deviation: plan.inputDeviation,
      column: {
        index: lane.index,
        values: Float32Array.from(
          plan.thresholds,
          (value) => (-value * plan.residualDeviation) / RESIDUAL_LANE.value,
        ),
      },
    });
    list.normal(name("up"), [neuronCount, hiddenSize], plan.inputDeviation);
    writing("down", neuronCount, plan.downDeviation);
  }
  list.finalNorm(names.finalNorm, false, HEAD_DEVIATION);
  list.normal(names.head, [vocabularySize, hiddenSize], HEAD_DEVIATION);
  return list.tensors;
}

import type { ModelConfig } from "@flashlm/contracts";

/** A tensor that a model needs: canonical name and row-major shape. */
export interface WantedTensor {
  readonly name: string;
  readonly shape: readonly number[];
}

/** All tensors that a model of the "llama" family needs, in order. */
export function wantedTensors(model: ModelConfig): WantedTensor[] {
  const { hiddenSize, attention, ffn } = model;
  const queryRows = attention.headCount * attention.headDim;
  const keyRows = attention.keyValueHeadCount * attention.headDim;
  const wanted: WantedTensor[] = [{ name: "embedding.weight", shape: [model.vocabularySize, hiddenSize] }];
  if (!model.tiedEmbeddings) wanted.push({ name: "head.weight", shape: [model.vocabularySize, hiddenSize] });
  wanted.push({ name: "final_norm.weight", shape: [hiddenSize] });
  for (let layer = 0; layer < model.layerCount; layer++) {
    const add = (name: string, ...shape: number[]): void => {
      wanted.push({ name: `layers.${layer}.${name}`, shape });
    };
    add("attention_norm.weight", hiddenSize);
    add("attention.query.weight", queryRows, hiddenSize);
    add("attention.key.weight", keyRows, hiddenSize);
    add("attention.value.weight", keyRows, hiddenSize);
    add("attention.output.weight", hiddenSize, queryRows);
    if (attention.queryKeyValueBias) {
      add("attention.query.bias", queryRows);
      add("attention.key.bias", keyRows);
      add("attention.value.bias", keyRows);
    }
    if (attention.outputBias) add("attention.output.bias", hiddenSize);
    add("ffn_norm.weight", hiddenSize);
    add("ffn.gate.weight", ffn.neuronCount, hiddenSize);
    add("ffn.up.weight", ffn.neuronCount, hiddenSize);
    add("ffn.down.weight", hiddenSize, ffn.neuronCount);
    if (ffn.bias) {
      add("ffn.gate.bias", ffn.neuronCount);
      add("ffn.up.bias", ffn.neuronCount);
      add("ffn.down.bias", hiddenSize);
    }
  }
  return wanted;
}

const GGUF_GLOBAL: Readonly<Record<string, string>> = {
  "token_embd.weight": "embedding.weight",
  "output.weight": "head.weight",
  "output_norm.weight": "final_norm.weight",
};
const GGUF_LAYER: Readonly<Record<string, string>> = {
  attn_norm: "attention_norm",
  attn_q: "attention.query",
  attn_k: "attention.key",
  attn_v: "attention.value",
  attn_output: "attention.output",
  ffn_norm: "ffn_norm",
  ffn_gate: "ffn.gate",
  ffn_up: "ffn.up",
  ffn_down: "ffn.down",
};
const HUGGING_FACE_GLOBAL: Readonly<Record<string, string>> = {
  "model.embed_tokens.weight": "embedding.weight",
  "lm_head.weight": "head.weight",
  "model.norm.weight": "final_norm.weight",
};
const HUGGING_FACE_LAYER: Readonly<Record<string, string>> = {
  input_layernorm: "attention_norm",
  "self_attn.q_proj": "attention.query",
  "self_attn.k_proj": "attention.key",
  "self_attn.v_proj": "attention.value",
  "self_attn.o_proj": "attention.output",
  post_attention_layernorm: "ffn_norm",
  "mlp.gate_proj": "ffn.gate",
  "mlp.up_proj": "ffn.up",
  "mlp.down_proj": "ffn.down",
};

function lookUp(table: Readonly<Record<string, string>>, key: string): string | null {
  return Object.hasOwn(table, key) ? table[key]! : null;
}

function layerName(match: RegExpExecArray | null, table: Readonly<Record<string, string>>): string | null {
  if (match === null) return null;
  const part = lookUp(table, match[2]!);
  return part === null ? null : `layers.${match[1]}.${part}.${match[3]}`;
}

/** Canonical name of a tensor of a GGUF file of the llama architecture, or null where there is none. */
export function canonicalNameFromGguf(name: string): string | null {
  const match = /^blk\.(0|[1-9]\d{0,3})\.(\w+)\.(weight|bias)$/.exec(name);
  return lookUp(GGUF_GLOBAL, name) ?? layerName(match, GGUF_LAYER);
}

/** Canonical name of a tensor of a Hugging Face checkpoint of the llama family, or null where there is none. */
export function canonicalNameFromHuggingFace(name: string): string | null {
  const match = /^model\.layers\.(0|[1-9]\d{0,3})\.([\w.]+)\.(weight|bias)$/.exec(name);
  return lookUp(HUGGING_FACE_GLOBAL, name) ?? layerName(match, HUGGING_FACE_LAYER);
}

const GLOBALS: Readonly<Record<string, string>> = {
  token_embd: "embedding",
  output: "head",
  output_norm: "final_norm",
};
const LAYER: Readonly<Record<string, string>> = {
  attn_norm: "attention_norm",
  attn_q: "attention.query",
  attn_k: "attention.key",
  attn_v: "attention.value",
  attn_q_norm: "attention.query_norm",
  attn_k_norm: "attention.key_norm",
  attn_output: "attention.output",
  ffn_norm: "ffn_norm",
  ffn_gate: "ffn.gate",
  ffn_up: "ffn.up",
  ffn_down: "ffn.down",
};

function lookUp(table: Readonly<Record<string, string>>, key: string): string | null {
  return Object.hasOwn(table, key) ? table[key]! : null;
}

/** Canonical name of a tensor of a GGUF file, or null where there is none. */
export function canonicalNameFromGguf(name: string): string | null {
  const match = /^(?:blk\.(0|[1-9]\d{0,3})\.)?(\w+)\.(weight|bias)$/.exec(name);
  if (match === null) return null;
  const [, layer, module = "", kind] = match;
  const stem = lookUp(layer === undefined ? GLOBALS : LAYER, module);
  if (stem === null) return null;
  return layer === undefined ? `${stem}.${kind}` : `layers.${layer}.${stem}.${kind}`;
}

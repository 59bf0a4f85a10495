import { hasNormBias, type LayerNormName, type ModelConfig } from "@flashlm/contracts";

/** A tensor that a model needs: canonical name and row-major shape. */
export interface WantedTensor {
  readonly name: string;
  readonly shape: readonly number[];
}

type Add = (name: string, ...shape: number[]) => void;

const SEQUENTIAL_NORMS: readonly LayerNormName[] = ["attention_norm", "ffn_norm"];

function addGlobals(model: ModelConfig, add: Add): void {
  const { embedding, hiddenSize, vocabularySize } = model;
  const width = embedding?.width ?? hiddenSize;
  add("embedding.weight", vocabularySize, width);
  if (width !== hiddenSize) add("embedding.projection.weight", hiddenSize, width);
  if (embedding?.positionCount !== undefined) add("position.weight", embedding.positionCount, hiddenSize);
  if (width !== hiddenSize) add("head.projection.weight", width, hiddenSize);
  if (!model.tiedEmbeddings) add("head.weight", vocabularySize, width);
  if (model.head?.bias) add("head.bias", vocabularySize);
  if (model.norm.final === false) return;
  add("final_norm.weight", hiddenSize);
  if (hasNormBias(model.norm)) add("final_norm.bias", hiddenSize);
}

function addAttention({ attention, hiddenSize, norm }: ModelConfig, add: Add): void {
  const rows = {
    query: attention.headCount * attention.headDim,
    key: attention.keyValueHeadCount * attention.headDim,
    value: attention.keyValueHeadCount * attention.headDim,
  };
  for (const [part, rowCount] of Object.entries(rows)) {
    add(`attention.${part}.weight`, rowCount, hiddenSize);
    if (attention.queryKeyValueBias) add(`attention.${part}.bias`, rowCount);
  }
  add("attention.output.weight", hiddenSize, rows.query);
  if (attention.outputBias) add("attention.output.bias", hiddenSize);
  if (attention.queryKeyNorm === undefined) return;
  for (const part of ["query", "key"] as const) {
    const length = attention.queryKeyNorm === "head" ? attention.headDim : rows[part];
    add(`attention.${part}_norm.weight`, length);
    if (hasNormBias(norm)) add(`attention.${part}_norm.bias`, length);
  }
}

function addFfn({ ffn, hiddenSize }: ModelConfig, add: Add): void {
  const parts = ffn.kind === "gated" ? ["gate", "up"] : ["up"];
  for (const part of parts) add(`ffn.${part}.weight`, ffn.neuronCount, hiddenSize);
  add("ffn.down.weight", hiddenSize, ffn.neuronCount);
  if (!ffn.bias) return;
  for (const part of parts) add(`ffn.${part}.bias`, ffn.neuronCount);
  add("ffn.down.bias", hiddenSize);
}

/** All tensors that a model needs, in order. */
export function wantedTensors(model: ModelConfig): WantedTensor[] {
  const wanted: WantedTensor[] = [];
  addGlobals(model, (name, ...shape) => wanted.push({ name, shape }));
  for (let layer = 0; layer < model.layerCount; layer++) {
    const add: Add = (name, ...shape) => wanted.push({ name: `layers.${layer}.${name}`, shape });
    for (const name of model.norm.perLayer ?? SEQUENTIAL_NORMS) {
      add(`${name}.weight`, model.hiddenSize);
      if (hasNormBias(model.norm)) add(`${name}.bias`, model.hiddenSize);
    }
    addAttention(model, add);
    addFfn(model, add);
  }
  return wanted;
}

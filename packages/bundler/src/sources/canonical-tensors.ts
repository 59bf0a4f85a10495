import { hasNormBias, type LayerNormName, type ModelConfig } from "@flashlm/contracts";

/** A tensor that a model needs: canonical name and row-major shape. */
export interface WantedTensor {
  readonly name: string;
  readonly shape: readonly number[];
}

type Add = (name: string, ...shape: number[]) => void;

const SEQUENTIAL_NORMS: readonly LayerNormName[] = ["attention_norm", "ffn_norm"];

/** What of a model its tensors follow from. */
type Shape = Omit<ModelConfig, "architecture" | "tokens">;

function addGlobals(model: Shape, add: Add): void {
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

function addNorms({ hiddenSize, norm }: Shape, part: "attention" | "ffn", add: Add): void {
  for (const name of norm.perLayer ?? SEQUENTIAL_NORMS) {
    if (!name.startsWith(part)) continue;
    add(`${name}.weight`, hiddenSize);
    if (hasNormBias(norm)) add(`${name}.bias`, hiddenSize);
  }
}

function addAttention({ attention, hiddenSize, norm }: Shape, add: Add): void {
  const rows = {
    query: attention.headCount * attention.headDim,
    key: attention.keyValueHeadCount * attention.headDim,
    value: attention.keyValueHeadCount * attention.headDim,
  };
  for (const [part, rowCount] of Object.entries(rows)) add(`attention.${part}.weight`, rowCount, hiddenSize);
  add("attention.output.weight", hiddenSize, rows.query);
  if (attention.queryKeyValueBias)
    for (const [part, rowCount] of Object.entries(rows)) add(`attention.${part}.bias`, rowCount);
  if (attention.outputBias) add("attention.output.bias", hiddenSize);
  if (attention.queryKeyNorm === undefined) return;
  for (const part of ["query", "key"] as const) {
    const length = attention.queryKeyNorm === "head" ? attention.headDim : rows[part];
    add(`attention.${part}_norm.weight`, length);
    if (hasNormBias(norm)) add(`attention.${part}_norm.bias`, length);
  }
}

function addFfn({ ffn, hiddenSize }: Shape, add: Add): void {
  const parts = ffn.kind === "gated" ? ["gate", "up"] : ["up"];
  for (const part of parts) add(`ffn.${part}.weight`, ffn.neuronCount, hiddenSize);
  add("ffn.down.weight", hiddenSize, ffn.neuronCount);
  if (!ffn.bias) return;
  for (const part of parts) add(`ffn.${part}.bias`, ffn.neuronCount);
  add("ffn.down.bias", hiddenSize);
}

/** All tensors that a model needs, in order. */
export function wantedTensors(model: Shape): WantedTensor[] {
  const wanted: WantedTensor[] = [];
  addGlobals(model, (name, ...shape) => wanted.push({ name, shape }));
  for (let layer = 0; layer < model.layerCount; layer++) {
    const add: Add = (name, ...shape) => wanted.push({ name: `layers.${layer}.${name}`, shape });
    addNorms(model, "attention", add);
    addAttention(model, add);
    addNorms(model, "ffn", add);
    addFfn(model, add);
  }
  return wanted;
}

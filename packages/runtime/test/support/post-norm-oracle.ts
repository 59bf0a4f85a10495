import { join } from "node:path";
import { readJson, readTensor } from "./fixtures.js";

type Matrix = Float64Array[];

const POSITION_OFFSET = 2;
const EPSILON = 1e-5;

/** rows x weight^T + bias, `weight` row-major `[outputs, inputs]`. */
function linear(rows: Matrix, weight: ArrayLike<number>, bias?: ArrayLike<number>): Matrix {
  return rows.map((row) => {
    const outputs = weight.length / row.length;
    return Float64Array.from({ length: outputs }, (_, output) => {
      let sum = bias ? Number(bias[output]) : 0;
      for (let input = 0; input < row.length; input++)
        sum += row[input]! * Number(weight[output * row.length + input]);
      return sum;
    });
  });
}

function layerNorm(rows: Matrix, weight: ArrayLike<number>, bias: ArrayLike<number>): Matrix {
  return rows.map((row) => {
    const mean = row.reduce((sum, value) => sum + value, 0) / row.length;
    const variance = row.reduce((sum, value) => sum + (value - mean) ** 2, 0) / row.length;
    return row.map(
      (value, at) => ((value - mean) / Math.sqrt(variance + EPSILON)) * Number(weight[at]) + Number(bias[at]),
    );
  });
}

/** Causal attention of one key/value head per query head. */
function attend(queries: Matrix, keys: Matrix, values: Matrix, headCount: number): Matrix {
  return queries.map((query, token) => {
    const target = new Float64Array(query.length);
    const headDim = query.length / headCount;
    for (let begin = 0; begin < query.length; begin += headDim) {
      const scores = Float64Array.from({ length: token + 1 }, (_, position) => {
        let score = 0;
        for (let at = begin; at < begin + headDim; at++) score += query[at]! * keys[position]![at]!;
        return score / Math.sqrt(headDim);
      });
      const largest = Math.max(...scores);
      const powers = scores.map((score) => Math.exp(score - largest));
      const total = powers.reduce((sum, value) => sum + value, 0);
      for (let position = 0; position <= token; position++)
        for (let at = begin; at < begin + headDim; at++)
          target[at]! += (powers[position]! / total) * values[position]![at]!;
    }
    return target;
  });
}

function sum(left: Matrix, right: Matrix): Matrix {
  return left.map((row, token) => row.map((value, at) => value + right[token]![at]!));
}

/** Logits of an OPT with norms behind the sums and narrow embeddings, in float64, straight from its checkpoint. */
export function postNormLogits(path: string, tokens: readonly number[]): Float32Array {
  const config = readJson<Record<string, number>>(join(path, "config.json"));
  const weights = join(path, "model.safetensors");
  const tensor = (name: string): ArrayLike<number> =>
    readTensor(weights, `model.decoder.${name}`).data as Float32Array;
  const row = (table: ArrayLike<number>, index: number, width: number): Float64Array =>
    Float64Array.from({ length: width }, (_, at) => Number(table[index * width + at]));
  const [embedding, positions] = [tensor("embed_tokens.weight"), tensor("embed_positions.weight")];
  const narrow = tokens.map((token) => row(embedding, token, config.word_embed_proj_dim!));
  let hidden = sum(
    linear(narrow, tensor("project_in.weight")),
    tokens.map((_, place) => row(positions, place + POSITION_OFFSET, config.hidden_size!)),
  );
  for (let layer = 0; layer < config.num_hidden_layers!; layer++) {
    const project = (name: string, rows: Matrix): Matrix =>
      linear(rows, tensor(`layers.${layer}.${name}.weight`), tensor(`layers.${layer}.${name}.bias`));
    const norm = (name: string, rows: Matrix): Matrix =>
      layerNorm(rows, tensor(`layers.${layer}.${name}.weight`), tensor(`layers.${layer}.${name}.bias`));
    const [queries, keys, values] = (["q", "k", "v"] as const).map((part) =>
      project(`self_attn.${part}_proj`, hidden),
    );
    const attended = attend(queries!, keys!, values!, config.num_attention_heads!);
    hidden = norm("self_attn_layer_norm", sum(hidden, project("self_attn.out_proj", attended)));
    const active = project("fc1", hidden).map((neurons) => neurons.map((value) => Math.max(0, value)));
    hidden = norm("final_layer_norm", sum(hidden, project("fc2", active)));
  }
  const logits = linear(linear(hidden, tensor("project_out.weight")), embedding);
  return Float32Array.from(logits.flatMap((each) => [...each]));
}

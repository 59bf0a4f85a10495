import { alignUp } from "@flashlm/contracts";
import { type LlamaPart, llamaTensors, type TensorContext } from "./family-tensors.js";
import { type PlannedFile, type PlannedTensor, planTensor } from "./file-plan.js";
import { labelOf } from "./model-config.js";
import { elementBytes, type SyntheticDtype } from "./row-filler.js";
import { sentencePieceVocabulary } from "./vocabulary.js";

const MAGIC = 0x46554747;
const VERSION = 3;
const ALIGNMENT_BYTES = 32;
/** Value types of GGUF metadata. */
const UINT32 = 4;
const INT32 = 5;
const FLOAT32 = 6;
const BOOL = 7;
const STRING = 8;
const ARRAY = 9;
/** Tensor types of GGUF, and what `general.file_type` calls a file of mostly that type. */
const TENSOR_TYPES: Readonly<Record<SyntheticDtype, number>> = { f32: 0, f16: 1, q8_0: 8, bf16: 30 };
const FILE_TYPES: Readonly<Record<SyntheticDtype, number>> = { f32: 0, f16: 1, q8_0: 7, bf16: 32 };

const LAYER_NAMES: Readonly<Record<LlamaPart, string>> = {
  attentionNorm: "attn_norm",
  query: "attn_q",
  key: "attn_k",
  value: "attn_v",
  output: "attn_output",
  ffnNorm: "ffn_norm",
  gate: "ffn_gate",
  up: "ffn_up",
  down: "ffn_down",
};

/** Little-endian bytes of a GGUF header. */
class HeaderBytes {
  readonly #parts: Buffer[] = [];

  word(value: number): this {
    const bytes = Buffer.alloc(4);
    bytes.writeInt32LE(value | 0);
    this.#parts.push(bytes);
    return this;
  }

  long(value: number): this {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64LE(BigInt(value));
    this.#parts.push(bytes);
    return this;
  }

  float(value: number): this {
    const bytes = Buffer.alloc(4);
    bytes.writeFloatLE(value);
    this.#parts.push(bytes);
    return this;
  }

  text(value: string): this {
    const bytes = Buffer.from(value, "utf8");
    this.long(bytes.length);
    this.#parts.push(bytes);
    return this;
  }

  raw(bytes: Uint8Array): this {
    this.#parts.push(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
    return this;
  }

  done(): Buffer {
    return Buffer.concat(this.#parts);
  }
}

function writeMetadata(header: HeaderBytes, context: TensorContext, dtype: SyntheticDtype): void {
  const { preset, seed } = context;
  const { shape } = preset;
  const count = (key: string, value: number): HeaderBytes => header.text(key).word(UINT32).word(value);
  const text = (key: string, value: string): HeaderBytes => header.text(key).word(STRING).text(value);
  const flag = (key: string, value: boolean): HeaderBytes =>
    header
      .text(key)
      .word(BOOL)
      .raw(Uint8Array.of(value ? 1 : 0));
  const real = (key: string, value: number): HeaderBytes => header.text(key).word(FLOAT32).float(value);
  const list = (key: string, itemType: number, length: number): HeaderBytes =>
    header.text(key).word(ARRAY).word(itemType).long(length);
  const vocabulary = sentencePieceVocabulary(shape.vocabularySize);
  header
    .word(MAGIC)
    .word(VERSION)
    .long(context.preset.shape.layerCount * 9 + 3)
    .long(23);
  text("general.architecture", "llama");
  text("general.name", `${preset.name} shape, seed ${seed} (synthetic)`);
  text("general.description", labelOf(preset, seed).note);
  count("general.file_type", FILE_TYPES[dtype]);
  count("general.alignment", ALIGNMENT_BYTES);
  count("llama.context_length", shape.contextLengthMax);
  count("llama.embedding_length", shape.hiddenSize);
  count("llama.block_count", shape.layerCount);
  count("llama.feed_forward_length", shape.neuronCount);
  count("llama.attention.head_count", shape.headCount);
  count("llama.attention.head_count_kv", shape.headCount);
  count("llama.rope.dimension_count", shape.hiddenSize / shape.headCount);
  real("llama.rope.freq_base", 10_000);
  real("llama.attention.layer_norm_rms_epsilon", 1e-5);
  count("llama.vocab_size", shape.vocabularySize);
  text("tokenizer.ggml.model", "llama");
  list("tokenizer.ggml.tokens", STRING, vocabulary.texts.length);
  for (const item of vocabulary.texts) header.text(item);
  list("tokenizer.ggml.scores", FLOAT32, vocabulary.scores.length).raw(
    new Uint8Array(vocabulary.scores.buffer),
  );
  list("tokenizer.ggml.token_type", INT32, vocabulary.types.length).raw(
    new Uint8Array(vocabulary.types.buffer),
  );
  count("tokenizer.ggml.bos_token_id", 1);
  count("tokenizer.ggml.eos_token_id", 2);
  count("tokenizer.ggml.unknown_token_id", 0);
  flag("tokenizer.ggml.add_bos_token", false);
}

/**
 * The one file of a Llama shape as GGUF (version 3). Norms are f32 as llama.cpp wants them. llama.cpp knows no Llama with ReLU, so the
 * activation there is SiLU, and no neuron is exactly zero.
 */
export function planGguf(context: TensorContext, dtype: SyntheticDtype): PlannedFile {
  const tensors = llamaTensors(context, {
    embedding: "token_embd.weight",
    finalNorm: "output_norm",
    head: "output.weight",
    layer: (layerIndex, part) => `blk.${layerIndex}.${LAYER_NAMES[part]}.weight`,
  });
  const header = new HeaderBytes();
  writeMetadata(header, context, dtype);
  const dtypeOf = (shape: readonly number[]): SyntheticDtype => (shape.length === 1 ? "f32" : dtype);
  const offsets: number[] = [];
  let end = 0;
  for (const { name, shape } of tensors) {
    const own = dtypeOf(shape);
    offsets.push(end);
    header.text(name).word(shape.length);
    for (const extent of [...shape].reverse()) header.long(extent);
    header.word(TENSOR_TYPES[own]).long(end);
    end = alignUp(
      end +
        elementBytes(
          own,
          shape.reduce((product, extent) => product * extent, 1),
        ),
      ALIGNMENT_BYTES,
    );
  }
  const text = header.done();
  const bytes = new Uint8Array(alignUp(text.length, ALIGNMENT_BYTES));
  bytes.set(text);
  const planned: PlannedTensor[] = tensors.map((tensor, index) =>
    planTensor(tensor, dtypeOf(tensor.shape), context.seed, bytes.length + offsets[index]!),
  );
  return { name: "model.gguf", header: bytes, tensors: planned, sizeBytes: bytes.length + end };
}

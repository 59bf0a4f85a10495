import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { openCheckpoint } from "../../src/sources/index.js";
import { ggufString as text, u32, u64 } from "../support/made-tensors.js";

type Value = string | number | boolean;
const folder = mkdtempSync(join(tmpdir(), "flashlm-made-"));
afterAll(() => rmSync(folder, { recursive: true }));

function encodeValue(value: Value): Buffer {
  if (typeof value === "string") return Buffer.concat([u32(8), text(value)]);
  if (typeof value === "boolean") return Buffer.concat([u32(7), Buffer.of(value ? 1 : 0)]);
  if (Number.isInteger(value)) return Buffer.concat([u32(4), u32(value)]);
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return Buffer.concat([u32(6), bytes]);
}

/** A GGUF file of F32 tensors, each filled with its running number in row-major order. */
function makeGguf(metadata: Record<string, Value>, tensors: Record<string, number[]>): Buffer {
  const header = [
    Buffer.from("GGUF"),
    u32(3),
    u64(Object.keys(tensors).length),
    u64(Object.keys(metadata).length),
  ];
  for (const [key, value] of Object.entries(metadata)) header.push(text(key), encodeValue(value));
  const data: Buffer[] = [];
  let offset = 0;
  for (const [name, shape] of Object.entries(tensors)) {
    header.push(text(name), u32(shape.length), ...[...shape].reverse().map(u64), u32(0), u64(offset));
    const count = shape.reduce((a, b) => a * b, 1);
    const padded = Math.ceil((count * 4) / 32) * 32;
    const bytes = Buffer.alloc(padded);
    for (let index = 0; index < count; index++) bytes.writeFloatLE(index + 1, index * 4);
    data.push(bytes);
    offset += padded;
  }
  const head = Buffer.concat(header);
  return Buffer.concat([head, Buffer.alloc(Math.ceil(head.length / 32) * 32 - head.length), ...data]);
}

const METADATA: Record<string, Value> = {
  "general.architecture": "llama",
  "llama.context_length": 64,
  "llama.embedding_length": 8,
  "llama.block_count": 1,
  "llama.feed_forward_length": 6,
  "llama.attention.head_count": 2,
  "llama.attention.layer_norm_rms_epsilon": 0.5,
  "llama.hidden_act": "fatrelu",
  "llama.hidden_act_param": 0.25,
  "tokenizer.ggml.model": "llama",
  "tokenizer.ggml.bos_token_id": 1,
  "tokenizer.ggml.eos_token_id": 2,
  "tokenizer.ggml.eot_token_id": 3,
};
const FIRST = { "token_embd.weight": [5, 8], "output_norm.weight": [8], "rope_freqs.weight": [2] };
const LAYER = {
  "blk.0.attn_norm.weight": [8],
  "blk.0.attn_q.weight": [8, 8],
  "blk.0.attn_k.weight": [8, 8],
  "blk.0.attn_v.weight": [8, 8],
  "blk.0.attn_output.weight": [8, 8],
  "blk.0.attn_q.bias": [8],
  "blk.0.attn_k.bias": [8],
  "blk.0.attn_v.bias": [8],
  "blk.0.ffn_norm.weight": [8],
  "blk.0.ffn_gate.weight": [6, 8],
  "blk.0.ffn_up.weight": [6, 8],
  "blk.0.ffn_down.weight": [8, 6],
};

function write(name: string, metadata: Record<string, Value>, tensors: Record<string, number[]>): string {
  const path = join(folder, name);
  writeFileSync(path, makeGguf(metadata, tensors));
  return path;
}

describe("GGUF files made here", () => {
  it("reads a split model with rotary factors, biases, FATReLU and several end tokens", async () => {
    write("m-00001-of-00002.gguf", { ...METADATA, "split.count": 2, "split.no": 0 }, FIRST);
    const second = write("m-00002-of-00002.gguf", { "split.count": 2, "split.no": 1 }, LAYER);
    const checkpoint = await openCheckpoint(second);
    expect(checkpoint.paths).toHaveLength(2);
    expect(checkpoint.model.rope.contextFactors).toEqual([1, 2]);
    expect(checkpoint.model.ffn.activation).toEqual({ name: "relu", threshold: 0.25 });
    expect(checkpoint.model.tokens).toEqual({ bos: 1, eos: [2, 3], addBos: true });
    expect(checkpoint.model.attention.queryKeyValueBias).toBe(true);
    expect(checkpoint.model.tiedEmbeddings).toBe(true);
    // Heads of 4: the file's pairs 0 1 2 3 are the halves 0 2 1 3.
    const bias = new Float32Array(8);
    checkpoint.readRows("layers.0.attention.key.bias", 0, 1, bias);
    expect([...bias]).toEqual([1, 3, 2, 4, 5, 7, 6, 8]);
    const rows = new Float32Array(64);
    checkpoint.readRows("layers.0.attention.query.weight", 0, 8, rows);
    expect(Array.from({ length: 8 }, (_, row) => (rows[row * 8]! - 1) / 8)).toEqual([0, 2, 1, 3, 4, 6, 5, 7]);
    expect(() => checkpoint.readRows("layers.0.ffn.gate.weight", 0, 7, rows)).toThrowError(/it has 6/);
    expect(() => checkpoint.readRows("layers.0.ffn.gate.weight", 0, 2, bias)).toThrowError(/target of 16/);
    checkpoint.close();
  });

  it.each([
    [
      { "llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 2.5 },
      { kind: "linear", factor: 2.5 },
    ],
    [{ "llama.rope.scaling.factor": 4 }, { kind: "linear", factor: 4 }],
    [
      {
        "llama.rope.scaling.type": "yarn",
        "llama.rope.scaling.factor": 4,
        "llama.rope.scaling.original_context_length": 16,
      },
      { kind: "yarn", factor: 4, betaFast: 32, betaSlow: 1, originalContextLength: 16 },
    ],
  ])("reads rotary scaling %j", async (extra, scaling) => {
    const checkpoint = await openCheckpoint(
      write("s.gguf", { ...METADATA, ...extra }, { ...FIRST, ...LAYER }),
    );
    expect(checkpoint.model.rope.scaling).toMatchObject(scaling);
    checkpoint.close();
  });

  it.each([
    [{ "llama.expert_count": 8 }, {}, "CHECKPOINT_UNSUPPORTED"],
    [{ "llama.rope.scaling.type": "longrope" }, {}, "CHECKPOINT_UNSUPPORTED"],
    [{ "llama.block_count": 2 }, {}, "CHECKPOINT_MISSING_TENSOR"],
    [{ "llama.embedding_length": 16 }, {}, "CHECKPOINT_SHAPE"],
    [{ "llama.block_count": 4_000_000_000 }, {}, "CHECKPOINT_FORMAT"],
    [{ "split.count": 3 }, {}, "CHECKPOINT_MISSING_SHARD"],
    [{}, { "blk.0.attn_q_norm.weight": [4] }, "CHECKPOINT_UNSUPPORTED"],
    [{}, { "rope_freqs.weight": [3] }, "CHECKPOINT_SHAPE"],
  ])("refuses %j %j", async (metadata, tensors, code) => {
    const path = write("r.gguf", { ...METADATA, ...metadata }, { ...FIRST, ...LAYER, ...tensors });
    await expect(openCheckpoint(path)).rejects.toMatchObject({ code });
  });
});

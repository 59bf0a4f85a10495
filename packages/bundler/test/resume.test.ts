import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { openCheckpoint, writeBundle } from "../src/index.js";
import {
  CAN_RUN,
  digestFolder,
  runChild,
  SOURCE,
  scratchFolder,
  writeHere,
} from "./crash-support/helpers.js";

const folder = scratchFolder();
const mountPath = join(folder, "small");
const job = { action: "write", source: SOURCE, dtype: "f16" as const, contentHash: "2".repeat(64) };

/** A file system of 4 MiB of its own, or false where this process may not mount one. */
function mountSmall(): boolean {
  try {
    mkdirSync(mountPath, { recursive: true });
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=4m", "tmpfs", mountPath], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}
const isMounted = CAN_RUN && mountSmall();

afterAll(() => {
  if (isMounted) execFileSync("umount", [mountPath]);
  rmSync(folder, { recursive: true, force: true });
});

describe.skipIf(!CAN_RUN)("writing a bundle again", () => {
  test("resumes behind the layers that are finished, after an abort", async () => {
    const whole = join(folder, "whole");
    await writeHere({ ...job, outPath: whole });
    const outPath = join(folder, "aborted");
    const stop = new AbortController();
    const onProgress = (event: { doneBytes: number; totalBytes: number }): void => {
      if (event.doneBytes > event.totalBytes * 0.6) stop.abort();
    };
    await expect(writeHere({ ...job, outPath, onProgress, signal: stop.signal })).rejects.toMatchObject({
      code: "FLASH_ABORTED",
    });
    expect(existsSync(outPath)).toBe(false);
    const checkpoint = await openCheckpoint(SOURCE);
    const rowsRead: string[] = [];
    const readRows: typeof checkpoint.readRows = (name, ...rest) => {
      rowsRead.push(name);
      checkpoint.readRows(name, ...rest);
    };
    const resumed = Object.assign(Object.create(checkpoint) as typeof checkpoint, { readRows });
    await writeBundle(resumed, { ...job, outPath });
    checkpoint.close();
    expect(rowsRead.length).toBeGreaterThan(0);
    expect(rowsRead.filter((name) => name.startsWith("layers.0."))).toEqual([]);
    expect(digestFolder(outPath)).toEqual(digestFolder(whole));
  });

  test("starts over when the content or the dtype is another one", async () => {
    const outPath = join(folder, "other");
    const signal = AbortSignal.abort();
    await expect(writeHere({ ...job, outPath, contentHash: "3".repeat(64), signal })).rejects.toMatchObject({
      code: "FLASH_ABORTED",
    });
    await expect(writeHere({ ...job, outPath, dtype: "q8_0", signal })).rejects.toMatchObject({
      code: "FLASH_ABORTED",
    });
    await writeHere({ ...job, outPath });
    expect(digestFolder(outPath)).toEqual(digestFolder(join(folder, "whole")));
  });

  test("leaves folders that are not ours alone", async () => {
    const outPath = join(folder, "mine");
    mkdirSync(outPath);
    writeFileSync(join(outPath, "thesis.txt"), "years of work");
    await expect(writeHere({ ...job, outPath })).rejects.toMatchObject({ code: "BUNDLE_WRITE" });
    const beside = join(folder, "beside");
    for (const suffix of [".partial", ".old", ".old-flashlm"]) {
      mkdirSync(beside + suffix);
      writeFileSync(join(beside + suffix, "thesis.txt"), "years of work");
    }
    await expect(writeHere({ ...job, outPath: beside })).rejects.toMatchObject({ code: "BUNDLE_WRITE" });
    rmSync(`${beside}.partial`, { recursive: true });
    await writeHere({ ...job, outPath: beside });
    for (const path of [outPath, `${beside}.old`, `${beside}.old-flashlm`])
      expect(readdirSync(path)).toContain("thesis.txt");
    await expect(writeHere({ ...job, outPath: beside })).rejects.toMatchObject({ code: "BUNDLE_WRITE" });
    expect(digestFolder(beside)).toEqual(digestFolder(join(folder, "whole")));
  });
});

describe.skipIf(!CAN_RUN)("two writers", () => {
  test("of one bundle: the second is told BUNDLE_BUSY, in this process and in another", async () => {
    const outPath = join(folder, "busy");
    const holdPath = join(folder, "held");
    const first = runChild({ ...job, outPath, holdPath, holdMs: 1500 });
    while (!existsSync(holdPath)) await new Promise((done) => setTimeout(done, 20));
    await expect(writeHere({ ...job, outPath })).rejects.toMatchObject({ code: "BUNDLE_BUSY" });
    expect((await first).result?.code).toBe(null);
    const both = await Promise.allSettled([writeHere({ ...job, outPath }), writeHere({ ...job, outPath })]);
    expect(both.filter((each) => each.status === "fulfilled")).toHaveLength(1);
    expect(both.find((each) => each.status === "rejected")?.reason).toMatchObject({ code: "BUNDLE_BUSY" });
    expect(digestFolder(outPath)).toEqual(digestFolder(join(folder, "whole")));
  });

  test("at a dead one's lock: exactly one of four takes it", async () => {
    const outPath = join(folder, "stale");
    const dead = await runChild({ ...job, outPath, killStep: 4 });
    expect(dead.signal).toBe("SIGKILL");
    expect(existsSync(`${outPath}.lock`)).toBe(true);
    const contenders = [0, 1, 2, 3].map((each) =>
      runChild({ ...job, outPath, holdPath: join(folder, `held-${each}`), holdMs: 1500 }),
    );
    const codes = (await Promise.all(contenders)).map(({ result }) => result?.code ?? null);
    expect(codes.filter((code) => code === null)).toHaveLength(1);
    expect(codes.filter((code) => code === "BUNDLE_BUSY")).toHaveLength(3);
    expect(digestFolder(outPath)).toEqual(digestFolder(join(folder, "whole")));
    expect(readdirSync(folder).filter((name) => name.startsWith("stale"))).toEqual(["stale"]);
  });
});

describe.skipIf(!isMounted)("a disk that is full", () => {
  const outPath = join(mountPath, "bundle");
  const fillPath = join(mountPath, "filler");

  test("before writing: says how much is missing", async () => {
    writeFileSync(fillPath, new Uint8Array(3_000_000));
    const error = await writeHere({ ...job, outPath }).catch((cause: unknown) => cause);
    expect(error).toMatchObject({ code: "BUNDLE_WRITE" });
    expect((error as { details: { missingBytes: number } }).details.missingBytes).toBeGreaterThan(0);
    expect(existsSync(outPath)).toBe(false);
    rmSync(fillPath);
  });

  test("while writing: nothing is at the path, and the next run with room resumes", async () => {
    const { result } = await runChild({ ...job, outPath, fillPath, fillBytes: 3_000_000 });
    expect(result?.code).toBe("BUNDLE_WRITE");
    expect(existsSync(outPath)).toBe(false);
    rmSync(fillPath);
    await writeHere({ ...job, outPath });
    expect(digestFolder(outPath)).toEqual(digestFolder(join(folder, "whole")));
  });
});

/** A checkpoint of one layer and a large embedding: 160 MiB of f32 zeros as a sparse safetensors file. */
function sparseCheckpoint(path: string): number {
  const hidden = 512;
  const neuronCount = 4096;
  const vocabulary = 32_768;
  const shapes: [string, number[]][] = [
    ["model.embed_tokens.weight", [vocabulary, hidden]],
    ["model.norm.weight", [hidden]],
  ];
  for (let layer = 0; layer < 4; layer++) {
    const name = `model.layers.${layer}`;
    shapes.push(
      [`${name}.input_layernorm.weight`, [hidden]],
      [`${name}.post_attention_layernorm.weight`, [hidden]],
    );
    for (const part of ["q", "k", "v", "o"])
      shapes.push([`${name}.self_attn.${part}_proj.weight`, [hidden, hidden]]);
    for (const part of ["gate", "up"])
      shapes.push([`${name}.mlp.${part}_proj.weight`, [neuronCount, hidden]]);
    shapes.push([`${name}.mlp.down_proj.weight`, [hidden, neuronCount]]);
  }
  let end = 0;
  const header = Object.fromEntries(
    shapes.map(([name, shape]) => {
      const begin = end;
      end += shape.reduce((product, size) => product * size, 4);
      return [name, { dtype: "F32", shape, data_offsets: [begin, end] }];
    }),
  );
  const text = JSON.stringify(header);
  const prefix = Buffer.alloc(8 + text.length, text.padStart(8 + text.length));
  prefix.writeBigUInt64LE(BigInt(text.length));
  mkdirSync(path);
  writeFileSync(join(path, "model.safetensors"), prefix);
  execFileSync("truncate", ["-s", String(prefix.length + end), join(path, "model.safetensors")]);
  const config = {
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    hidden_size: hidden,
    intermediate_size: neuronCount,
    num_hidden_layers: 4,
    num_attention_heads: 8,
    num_key_value_heads: 8,
    vocab_size: vocabulary,
    hidden_act: "silu",
    rms_norm_eps: 1e-5,
    rope_theta: 10_000,
    max_position_embeddings: 128,
    tie_word_embeddings: true,
    torch_dtype: "float32",
  };
  writeFileSync(join(path, "config.json"), JSON.stringify(config));
  const tokenizer = {
    version: "1.0",
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, use_regex: true },
    post_processor: null,
    decoder: { type: "ByteLevel" },
    model: { type: "BPE", vocab: { a: 0, b: 1 }, merges: [] },
  };
  writeFileSync(join(path, "tokenizer.json"), JSON.stringify(tokenizer));
  writeFileSync(
    join(path, "tokenizer_config.json"),
    JSON.stringify({ tokenizer_class: "PreTrainedTokenizerFast" }),
  );
  return vocabulary * hidden * 4;
}

describe.skipIf(!CAN_RUN)("memory", () => {
  test("grows by less than 256 MiB and the largest tensor", async () => {
    const source = join(folder, "sparse");
    const largestBytes = sparseCheckpoint(source);
    const { result } = await runChild({
      action: "write",
      source,
      dtype: "f16",
      contentHash: "4".repeat(64),
      outPath: join(folder, "memory"),
    });
    expect(result?.code).toBe(null);
    expect(result!.growthBytes).toBeLessThan(256 * 2 ** 20 + largestBytes);
  });
});

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { fixture, flashlm, readFloats, temporaryFolder } from "./support/cli.js";

const LOGIT_TOLERANCE = 1e-4;
const model = fixture("families/llama");
const folder = temporaryFolder();
const home = join(folder.path, "home");
afterAll(folder.dispose);

describe.skipIf(model === null)("the program", () => {
  const expected: { prompt: number[]; greedy: number[] } =
    model === null
      ? { prompt: [], greedy: [] }
      : JSON.parse(readFileSync(join(model, "expected.json"), "utf8"));
  const run = (...args: string[]) => flashlm(home, ["run", model!, ...args]);

  test("run --follow takes the tokens it is given, says so, and refuses those that there are not", async () => {
    const start = ["--prompt-tokens", expected.prompt.join(","), "--temperature", "0", "--json"];
    const { code, stdout } = await run(...start, "--max-tokens", "4", "--follow", "9,8,7");
    expect(code).toBe(0);
    const { tokens, mode } = JSON.parse(stdout);
    expect(tokens.slice(0, 3)).toEqual([9, 8, 7]);
    expect(tokens).toHaveLength(4);
    expect(mode.tokens).toBe("given, not chosen");
    for (const wrong of [
      ["--follow", "1,999999"],
      ["--follow", "1", "--draft", model!],
    ])
      expect((await run(...start, ...wrong)).stderr).toContain("[ENGINE_OPTION]");
  });

  test("run --json prints one object, with the tokens of transformers", async () => {
    const prompt = expected.prompt.join(",");
    const { code, stdout, stderr } = await run(
      ...["--prompt-tokens", prompt, "--max-tokens", "8", "--temperature", "0", "--json"],
    );
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout.trimEnd().split("\n")).toHaveLength(1);
    const result = JSON.parse(stdout);
    expect(Object.keys(result).sort()).toEqual(["mode", "report", "text", "tokens"]);
    expect(result.tokens).toEqual(expected.greedy.slice(0, 8));
    expect(result.text.trim().split(" ").map(Number)).toEqual(result.tokens);
    expect(result.mode).toMatchObject({ dtype: "f32", checksums: "first" });
    expect(result.report).toMatchObject({ promptTokens: expected.prompt.length, keptShare: 1 });
  });

  test("the bundle is kept at home, once", async () => {
    await run("--prompt-tokens", "1,2,3", "--max-tokens", "1", "--json");
    expect(readdirSync(join(home, "bundles"))).toHaveLength(1);
  });

  test("memory limit, reader, cache, kernels and threads do not change a token", async () => {
    const prompt = expected.prompt.join(",");
    const greedy = ["--prompt-tokens", prompt, "--max-tokens", "8", "--temperature", "0", "--json"];
    for (const other of [
      ["--reader", "memory", "--cache", "compact", "--threads", "1"],
      ["--kernels", "reference", "--prompt-chunk", "5"],
    ]) {
      const { stdout } = await run(...greedy, ...other);
      expect(JSON.parse(stdout).tokens).toEqual(expected.greedy.slice(0, 8));
    }
  });

  test("logits writes what transformers computes", async () => {
    const tokens = [...expected.prompt, ...expected.greedy];
    const out = join(folder.path, "logits.safetensors");
    const { code, stdout } = await flashlm(home, [
      ...["logits", model!, "--tokens", tokens.join(","), "--out", out, "--json"],
    ]);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ out, shape: [tokens.length, 320] });
    const actual = readFloats(out, "logits");
    const wanted = readFloats(join(model!, "expected.safetensors"), "logits");
    expect(actual.shape).toEqual(wanted.shape);
    const largest = actual.values.reduce(
      (most, value, index) => Math.max(most, Math.abs(value - wanted.values[index]!)),
      0,
    );
    expect(largest).toBeLessThan(LOGIT_TOLERANCE);
    expect(existsSync(`${out}.partial`)).toBe(false);
  });

  test.each([
    ["ENGINE_OPTION", ["--prompt-tokens", "1,x"]],
    ["ENGINE_OPTION", ["--prompt-tokens", "1,2", "--memory", "much"]],
    ["PREDICTOR_NOT_AVAILABLE", ["--prompt-tokens", "1,2", "--sparsity", "oracle"]],
    ["TOKENIZER_UNSUPPORTED", ["What is gravity?"]],
    ["ENGINE_CONTEXT_FULL", ["--prompt-tokens", "1,2,3,4", "--context", "2"]],
  ])("%s for %j", async (wanted, args) => {
    const { code, stdout, stderr } = await run(...args);
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr).toContain(`[${wanted}]`);
    expect(stderr).not.toMatch(/\n\s+at /);
  });

  test("CHECKPOINT_NOT_FOUND for a path that is not there", async () => {
    const { code, stderr } = await flashlm(home, ["run", "./no-such-model.gguf", "Hello"]);
    expect(code).toBe(1);
    expect(stderr).toContain("[CHECKPOINT_NOT_FOUND]");
  });

  test("an interrupted run ends with its report", async () => {
    const args = [
      "--prompt-tokens",
      "1,2,3",
      "--max-tokens",
      "240",
      "--kernels",
      "reference",
      "--ignore-eos",
    ];
    let sent = false;
    const { code, stdout, stderr } = await flashlm(home, ["run", model!, ...args], (_text, child) => {
      if (!sent) child.kill("SIGINT");
      sent = true;
    });
    expect(stdout.trim().split(" ").length).toBeLessThan(240);
    expect(code).toBe(130);
    expect(stderr).toContain("speed:");
    expect(stderr).toContain("memory: planned");
  });
});

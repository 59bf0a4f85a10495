import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { fixture, flashlm, temporaryFolder } from "./support/cli.js";

const model = fixture("families/llama-relu");
const draft = fixture("families/llama");
const folder = temporaryFolder();
const home = join(folder.path, "home");
afterAll(folder.dispose);

describe.skipIf(model === null || draft === null)("run --draft", () => {
  const expected: { prompt: number[]; greedy: number[] } =
    model === null
      ? { prompt: [], greedy: [] }
      : JSON.parse(readFileSync(join(model, "expected.json"), "utf8"));
  const greedy = ["--prompt-tokens", expected.prompt.join(","), "--temperature", "0", "--ignore-eos"];
  const run = (...args: string[]) => flashlm(home, ["run", model!, ...greedy, ...args]);

  test("gives the tokens of the model alone and reports what the draft brought", async () => {
    for (const [name, sparsity] of [
      [model!, "oracle"],
      [draft!, "dense"],
    ] as const) {
      const { code, stdout, stderr } = await run(
        ...["--max-tokens", "24", "--json", "--sparsity", "oracle"],
        ...["--draft", name, "--draft-sparsity", sparsity, "--draft-tokens", "7"],
      );
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
      const { mode, report, tokens } = JSON.parse(stdout);
      expect(tokens).toEqual(expected.greedy.slice(0, 24));
      expect(mode.draft).toContain(`, context ${expected.prompt.length + 24}, 7 tokens`);
      const { acceptanceRate, tokensPerPass, proposedTokens } = report.speculation;
      expect(proposedTokens).toBeGreaterThan(0);
      if (name === model) expect([acceptanceRate, tokensPerPass]).toEqual([1, 23 / 3]);
      else expect(acceptanceRate).toBeLessThan(1);
    }
  });

  test("counts the draft in the plan and in the limit of the process", async () => {
    const limit = ["--memory", "250MiB", "--draft-memory", "300%", "--draft-tokens", "2"];
    const { code, stderr } = await run("--max-tokens", "4", ...limit, "--draft", draft!);
    expect(code).toBe(0);
    expect(stderr).toMatch(/^ {2}draft: neuron slots +\d/m);
    const total = Number(/^ {2}total +([\d.]+) MiB$/m.exec(stderr)?.[1]);
    expect(total).toBeGreaterThan(0);
    expect(total).toBeLessThanOrEqual(250);
    expect(stderr).toMatch(/draft: \d+% of \d+ tokens accepted, [\d.]+ tokens per pass/);
  });

  test("refuses what does not go together", async () => {
    const together = await run("--max-tokens", "2", "--draft", draft!, "--trace", join(folder.path, "t"));
    expect(together.stderr).toContain("[ENGINE_OPTION]");
    const memory = await run("--max-tokens", "2", "--draft", draft!, "--draft-memory", "much");
    expect(memory.stderr).toContain("--draft-memory");
    const count = await run("--max-tokens", "2", "--draft", draft!, "--draft-tokens", "9");
    expect([together.code, memory.code, count.code]).toEqual([1, 1, 1]);
  });
});

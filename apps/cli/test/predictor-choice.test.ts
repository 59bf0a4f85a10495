import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DEMAND_WINDOW_MAX } from "@flashlm/contracts";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { describePredictors, type PredictorOutlook, recommend } from "../src/commands/plan-predictors.js";
import { fixture, flashlm, temporaryFolder } from "./support/cli.js";

const relu = fixture("families/llama-relu");
const silu = fixture("families/llama");
const home = temporaryFolder();
const bundle = join(home.path, "relu");
const tokens = join(home.path, "tokens.json");
const common = ["--kernels", "wasm", "--threads", "1", "--json"];
const prompt = ["--prompt-tokens", "5,9,2,7,1", "--temperature", "0", "--ignore-eos", "--max-tokens", "8"];

async function json(args: readonly string[]): Promise<Record<string, never>> {
  const { code, stdout, stderr } = await flashlm(home.path, [...args, ...common]);
  expect(code, stderr).toBe(0);
  return JSON.parse(stdout);
}

/** `--sparsity auto` as the run's mode line names it, and the tokens. */
async function autoRun(model: string): Promise<{ sparsity: string; tokens: number[] }> {
  const { mode, tokens: made } = (await json(["run", model, ...prompt, "--sparsity", "auto"])) as never as {
    mode: { sparsity: string };
    tokens: number[];
  };
  return { sparsity: mode.sparsity, tokens: made };
}

afterAll(home.dispose);

describe.skipIf(relu === null || silu === null)("predictors of a bundle", () => {
  beforeAll(async () => {
    const made = await flashlm(home.path, ["bundle", relu!, "--out", bundle, "--dtype", "f32"]);
    expect(made.code, made.stderr).toBe(0);
    const expected = JSON.parse(readFileSync(join(relu!, "expected.json"), "utf8"));
    writeFileSync(tokens, JSON.stringify([...expected.prompt, ...expected.greedy]));
  }, 60_000);

  it("auto is exact prediction for ReLU and dense for SiLU, with the same tokens as dense", async () => {
    const dense = (await json(["run", bundle, ...prompt])) as never as { tokens: number[] };
    const chosen = await autoRun(bundle);
    expect(chosen.sparsity).toMatch(/^oracle/);
    expect(chosen.tokens).toEqual(dense.tokens);
    expect((await autoRun(silu!)).sparsity).toMatch(/^dense/);
  }, 60_000);

  it("plan lists what the bundle can serve, forecasts it, and recommends by limit", async () => {
    const { predictors, recommended, rows } = (await json(["plan", bundle, "--context", "64"])) as never as {
      predictors: PredictorOutlook[];
      recommended: { memory: string; lossless: string | null; lossy: string | null }[];
      rows: { memory: string; tooSmall?: string; forecast?: { tokenMs: number } }[];
    };
    expect(predictors.map(({ sparsity, lossless, known }) => [sparsity, lossless, known])).toEqual([
      ["dense", true, true],
      ["oracle", true, false],
      ["gate-shadow:0.1", false, false],
      ["shadow:0.6", false, true],
    ]);
    expect(predictors[0]!.tensorBytes).toBe(0);
    expect(predictors[1]!.tensorBytes).toBeGreaterThan(0);
    // What is asked for is forecast as in the table of limits.
    expect(predictors[0]!.forecasts.map((forecast) => forecast?.tokenMs)).toEqual(
      rows.map(({ forecast }) => forecast?.tokenMs),
    );
    expect(recommended.at(-1)).toMatchObject({ memory: "max", lossless: "dense" });
    expect(recommended[0]!.lossless === null).toBe(rows[0]!.tooSmall !== undefined);
  }, 60_000);

  it("once a demand is measured its predictor counts, and auto takes the faster by forecast", async () => {
    const text = ["--tokens", tokens, "--window", "32", "--limit", "128"];
    const measured = (await json(["eval", bundle, ...text, "--sparsity", "oracle"])) as never as {
      nllChange: number;
      layers: { falseNegatives: number; falsePositives: number }[];
    };
    // Exact prediction misses nothing and names nothing needless.
    for (const layer of measured.layers)
      expect(layer).toMatchObject({ falseNegatives: 0, falsePositives: 0 });
    expect(Math.abs(measured.nllChange)).toBeLessThan(1e-6);
    await flashlm(home.path, ["device", home.path, "--seconds", "1", "--file-mib", "16", "--json"]);
    const limit = ["--memory", "max", "--context", "64"];
    const { predictors, recommended } = (await json(["plan", bundle, ...limit])) as never as {
      predictors: PredictorOutlook[];
      recommended: { lossless: string }[];
    };
    expect(predictors.find(({ sparsity }) => sparsity === "oracle")!.known).toBe(true);
    // The window that the slots afford is named, by plan and run alike; all neurons fit here.
    const own = (await json(["plan", bundle, ...limit, "--sparsity", "oracle"])) as never as {
      rows: { plan: { windowTokens: number } }[];
    };
    const oracle = (await json(["run", bundle, ...prompt, ...limit, "--sparsity", "oracle"])) as never as {
      mode: Record<string, string>;
    };
    expect(own.rows[0]!.plan.windowTokens).toBe(DEMAND_WINDOW_MAX);
    expect(oracle.mode.window).toBe(`${DEMAND_WINDOW_MAX} tokens fit`);
    const run = (await json(["run", bundle, ...prompt, ...limit, "--sparsity", "auto"])) as never as {
      mode: { sparsity: string };
    };
    expect(run.mode.sparsity.split(" ")[0]).toBe(recommended[0]!.lossless);
  }, 90_000);

  it("names the policy that decides: foresight only where a predictor has scores", async () => {
    for (const [sparsity, cache] of [
      ["dense", "slot-map"],
      ["shadow:0.6", "slot-map:foresight"],
    ] as const) {
      const run = (await json(["run", bundle, ...prompt, "--sparsity", sparsity])) as never as {
        mode: { cache: string };
      };
      expect(run.mode.cache).toBe(cache);
    }
  });

  it("perplexity takes tokens in place of a text, and refuses both or none", async () => {
    const text = ["--tokens", tokens, "--window", "64", "--limit", "128"];
    const { scoredTokens, meanNll } = (await json(["perplexity", bundle, ...text])) as never as {
      scoredTokens: number;
      meanNll: number;
    };
    expect(scoredTokens).toBe(126);
    expect(meanNll).toBeGreaterThan(0);
    for (const wrong of [[], [...text, "--text", tokens]])
      expect((await flashlm(home.path, ["perplexity", bundle, ...wrong])).stderr).toContain(
        "[ENGINE_OPTION]",
      );
  }, 60_000);
});

describe("recommend", () => {
  const outlook = (
    sparsity: string,
    lossless: boolean,
    known: boolean,
    times: readonly (number | null)[],
  ): PredictorOutlook => ({
    sparsity,
    lossless,
    known,
    tensorBytes: 0,
    forecasts: times.map((tokenMs) => (tokenMs === null ? null : ({ tokenMs } as never))),
  });
  const memories = ["25%", "50%", "max"];
  const outlooks = [
    outlook("dense", true, true, [null, 40, 20]),
    outlook("oracle", true, true, [null, 30, 25]),
    outlook("lowrank", false, true, [null, 20, 22]),
    outlook("gate-shadow:0.1", false, false, [null, 1, 1]),
  ];

  it("is the fastest lossless one, and a lossy one only where it is known to be faster", () => {
    expect(recommend(outlooks, memories)).toEqual([
      { memory: "25%", lossless: null, lossy: null },
      { memory: "50%", lossless: "oracle", lossy: "lowrank" },
      { memory: "max", lossless: "dense", lossy: null },
    ]);
  });

  it("is marked in the table, and what is unknown says how to know it", () => {
    const lines = describePredictors(outlooks, memories);
    expect(lines.find((line) => line.startsWith("oracle"))).toMatch(/too small +\*30\.0 +25\.0$/);
    expect(lines.find((line) => line.startsWith("lowrank"))).toMatch(/\+20\.0 +22\.0$/);
    expect(lines.at(-1)).toContain("flashlm eval --sparsity gate-shadow:0.1");
  });
});

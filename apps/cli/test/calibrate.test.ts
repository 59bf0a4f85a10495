import { cpSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { openBundle, verifyBundle } from "@flashlm/bundler";
import type { BundleIndex } from "@flashlm/contracts";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readTraceFile } from "../src/trace-file.js";
import { flashlm, temporaryFolder } from "./support/cli.js";

/** Writing, bundling and training a model of 4 layers on a core that is shared. */
const PREPARE_LIMIT_MS = 300_000;
/** Tokens whose named neurons are compared. */
const TRACED_TOKENS = 16;

const folder = temporaryFolder();
afterAll(folder.dispose);

async function succeed(args: readonly string[]): Promise<string> {
  const run = await flashlm(join(folder.path, "home"), args);
  expect(run.code, run.stderr).toBe(0);
  return run.stdout;
}

/** Per layer and token: the checkpoint's neurons that a run's predictor named, ascending. */
async function namedNeurons(bundle: BundleIndex, tracePath: string): Promise<number[][][]> {
  const { layers, tokenCount } = await readTraceFile(tracePath);
  return layers.map(({ starts, ids }, layerIndex) => {
    const order = bundle.neuronOrder(layerIndex);
    return Array.from({ length: tokenCount }, (_, token) =>
      Array.from(ids.subarray(starts[token]!, starts[token + 1]!), (id) => order[id]!).sort((a, b) => a - b),
    );
  });
}

describe("calibrate by tokens", () => {
  const model = join(folder.path, "model");
  const tokensPath = join(model, "tokens.json");
  const before = join(folder.path, "before");
  const after = join(folder.path, "after");
  const common = ["--kernels", "wasm", "--threads", "1"];
  const calibration = ["--tokens", tokensPath, "--limit", "256", "--window", "64", ...common, "--json"];

  beforeAll(async () => {
    await succeed(["synth", "--preset", "tiny", "--no-measure", "--out", model, "--threads", "1"]);
    await succeed(["bundle", model, "--out", before]);
    const training = ["--limit", "128", "--window", "64", "--rank", "16", "--epochs", "1"];
    await succeed(["train-predictor", before, "--tokens", tokensPath, ...training, ...common]);
    cpSync(before, after, { recursive: true });
    await succeed(["calibrate", after, "--memory", "max", ...calibration]);
  }, PREPARE_LIMIT_MS);

  test("writes a bundle that verifies and holds what was measured", async () => {
    await verifyBundle(after);
    const { manifest } = await openBundle(after);
    expect(manifest.calibration).toMatchObject({ text: "tokens", tokenCount: 256 });
    for (const share of manifest.calibration!.activeShareByLayer) {
      expect(share).toBeGreaterThan(0);
      expect(share).toBeLessThan(0.5);
    }
  });

  test("the hottest records come first: exact activations of a run name the first records most", async () => {
    const trace = join(folder.path, "oracle.trace");
    const tokens = JSON.parse(readFileSync(tokensPath, "utf8")).tokens as number[];
    const asked = ["--prompt-tokens", tokens.slice(0, 8).join(","), "--max-tokens", "40", "--ignore-eos"];
    const follow = ["--follow", tokens.slice(8, 48).join(",")];
    await succeed(["run", after, ...asked, ...follow, "--sparsity", "oracle", "--trace", trace, ...common]);
    const { layers } = await readTraceFile(trace);
    for (const { ids, unitCount } of layers) {
      const inFirstHalf = Array.from(ids).filter((id) => id < unitCount / 2);
      expect(inFirstHalf.length / ids.length).toBeGreaterThan(0.75);
    }
  });

  test("does the same in a third of the memory and with more threads", async () => {
    const small = join(folder.path, "small");
    cpSync(before, small, { recursive: true });
    const bounded = [...calibration.slice(0, -2), "2", "--memory", "35%", "--json"];
    expect(JSON.parse(await succeed(["calibrate", small, ...bounded])).tokenCount).toBe(256);
    for (const name of readdirSync(after))
      expect(readFileSync(join(small, name)).equals(readFileSync(join(after, name))), name).toBe(true);
  });

  test.each(["lowrank", "lookahead"])("heads of %s name the same neurons as before", async (sparsity) => {
    const tokens = JSON.parse(readFileSync(tokensPath, "utf8")).tokens as number[];
    const asked = ["--prompt-tokens", tokens.slice(0, 8).join(","), "--ignore-eos", ...common];
    const follow = [
      "--max-tokens",
      String(TRACED_TOKENS),
      "--follow",
      tokens.slice(8, 8 + TRACED_TOKENS).join(","),
    ];
    const named = [];
    for (const path of [before, after]) {
      const trace = join(folder.path, `${sparsity}.trace`);
      await succeed(["run", path, ...asked, ...follow, "--sparsity", sparsity, "--trace", trace]);
      named.push(await namedNeurons(await openBundle(path), trace));
    }
    // Sums run in the order of the records, so a score at its threshold may fall on the other side.
    let sameCount = 0;
    let allCount = 0;
    for (const [layerIndex, tokensNamed] of named[0]!.entries()) {
      for (const [token, neurons] of tokensNamed.entries()) {
        const others = new Set(named[1]![layerIndex]![token]);
        sameCount += neurons.filter((neuron) => others.has(neuron)).length;
        allCount += Math.max(neurons.length, others.size);
      }
    }
    expect(allCount).toBeGreaterThan(0);
    expect(sameCount / allCount).toBeGreaterThan(0.995);
  });

  test("refuses to be given both, neither, and too little", async () => {
    const home = join(folder.path, "home");
    for (const [args, code] of [
      [["--tokens", tokensPath, "--text", tokensPath], "ENGINE_OPTION"],
      [[], "ENGINE_OPTION"],
      [["--tokens", "1"], "ENGINE_OPTION"],
      [["--tokens", "1,2,3", "--memory", "1MiB"], "BUDGET_TOO_SMALL"],
    ] as const) {
      const run = await flashlm(home, ["calibrate", after, ...args]);
      expect(run).toMatchObject({ code: 1, stderr: expect.stringContaining(`[${code}]`) });
      if (code === "BUDGET_TOO_SMALL")
        expect(run.stderr).toMatch(/of which the process .*, the activation statistics [\d.]+ [KM]iB/);
    }
    await verifyBundle(after);
  });
});

import { cpSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openBundle, verifyBundle } from "@flashlm/bundler";
import type { BundleIndex } from "@flashlm/contracts";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { CONTRIBUTION_OF_CODE, codeOfContribution } from "../src/training/contribution-code.js";
import { keepLargest } from "../src/training/layer-samples.js";
import { splitTokens, spreadWindows } from "../src/training/training-text.js";
import { fixture, flashlm, readFloats, temporaryFolder } from "./support/cli.js";

const model = fixture("families/llama-relu");

describe.skipIf(model === null)("train-predictor", () => {
  const home = temporaryFolder();
  const bundle = join(home.path, "bundle");
  const tokens = join(home.path, "tokens.json");
  const logits = join(home.path, "logits.safetensors");
  const args = [
    "train-predictor",
    bundle,
    "--tokens",
    tokens,
    "--window",
    "32",
    "--rank",
    "16",
    "--epochs",
    "2",
  ];
  const common = ["--kernels", "wasm", "--threads", "1", "--json"];
  const expected = JSON.parse(readFileSync(join(model!, "expected.json"), "utf8"));
  const dtypesOf = (index: BundleIndex): string[] =>
    ["a", "b"].map((part) => index.tensor(`layers.0.lowrank.${part}.weight`).dtype);
  let first: Record<string, unknown>;

  beforeAll(async () => {
    const made = await flashlm(home.path, ["bundle", model!, "--out", bundle, "--dtype", "f32"]);
    expect(made.code, made.stderr).toBe(0);
    // What the model itself continues, and other tokens: 12 windows and more.
    const sequence = [...expected.prompt, ...expected.greedy, ...expected.probe];
    const all = [0, 1, 2].flatMap((shift) =>
      sequence.map((token, index) => (shift === 0 ? token : (token * 7 + index * shift) % 250)),
    );
    writeFileSync(tokens, JSON.stringify(all));
    const run = await flashlm(home.path, [...args, "--keep", ...common]);
    expect(run.code, run.stderr).toBe(0);
    first = JSON.parse(run.stdout);
  }, 120_000);
  afterAll(() => home.dispose());

  it("writes heads of every layer into a bundle that verifies, and reports them", async () => {
    await verifyBundle(bundle);
    const { manifest } = await openBundle(bundle);
    const layerCount = manifest.layers.length;
    expect(manifest.heads!.lowrank.map(({ rank }) => rank)).toEqual(new Array(layerCount).fill(16));
    expect(manifest.heads!.lookahead).toHaveLength(layerCount - 1);
    const { lowrank } = first as {
      lowrank: { mean: Record<string, number>; layers: Record<string, number>[] };
    };
    expect(lowrank.layers).toHaveLength(layerCount);
    for (const layer of lowrank.layers) {
      expect(layer.missedShare).toBeLessThanOrEqual(0.02);
      expect(layer.predictedShare).toBeLessThanOrEqual(1);
      expect(layer.recall! + layer.falseNegativeShare!).toBeCloseTo(1, 9);
    }
    expect(lowrank.mean.recall).toBeGreaterThan(0.5);
  });

  it("stores them in q8_0 where blocks of 32 fit, and in f16 elsewhere", async () => {
    const index = await openBundle(bundle);
    // Hidden size 64, rank 16.
    expect(dtypesOf(index)).toEqual(["q8_0", "f16"]);
  });

  it("records the active share that transformers measured", async () => {
    // The heads' tokens begin with those of the reference; its shares are over them alone, so only roughly the same.
    const { lowrank } = first as { lowrank: { layers: { activeShare: number }[] } };
    for (const [layerIndex, share] of (expected.activeShareByLayer as number[]).entries())
      expect(Math.abs(lowrank.layers[layerIndex]!.activeShare - share)).toBeLessThan(0.1);
  });

  it("goes on where a killed run stood, with the same heads", async () => {
    const folder = `${bundle}.training`;
    const journalPath = join(folder, "journal.json");
    const journal = JSON.parse(readFileSync(journalPath, "utf8"));
    const whole = journal.recordedTokens;
    const before = (await openBundle(bundle)).manifest.heads;
    // A kill in the middle of the third window: two are journaled, the files hold a piece more.
    writeFileSync(journalPath, JSON.stringify({ ...journal, recordedTokens: 64 }));
    writeFileSync(
      join(folder, "layer-0.codes"),
      readFileSync(join(folder, "layer-0.codes")).subarray(0, 64 * 192 + 17),
    );
    for (const name of ["lowrank-0.head", "lookahead-0.head"])
      writeFileSync(join(folder, name), '{"settings":"other","lengths":[]}\n');
    const run = await flashlm(home.path, [...args, ...common]);
    expect(run.code, run.stderr).toBe(0);
    const again = JSON.parse(run.stdout);
    expect(again.resumedTokens).toBe(64);
    expect(again.tokenCount).toBe(whole);
    expect(again.lowrank).toEqual((first as { lowrank: unknown }).lowrank);
    expect((await openBundle(bundle)).manifest.heads).toEqual(before);
    expect(existsSync(folder)).toBe(false);
  }, 120_000);

  it("refuses a limit that recording or training do not fit, and names one that they do", async () => {
    const copy = join(home.path, "limited");
    cpSync(bundle, copy, { recursive: true });
    const limited = ["train-predictor", copy, ...args.slice(2), ...common, "--memory"];
    const refusal = await flashlm(home.path, [...limited, "20MiB"]);
    expect(refusal.code).toBe(1);
    const least =
      /at least ([\d.]+) MiB, of which the process .* takes [\d.]+ MiB, training matrices [\d.]+ [KM]iB, training samples [\d.]+ [KM]iB, optimizer and heads [\d.]+ [KM]iB, but it is 20.0 MiB/.exec(
        refusal.stderr,
      );
    expect(refusal.stderr).toContain("[BUDGET_TOO_SMALL]");
    expect(existsSync(`${copy}.training`)).toBe(false);
    // What the process itself takes differs by a few MiB from run to run.
    const run = await flashlm(home.path, [...limited, `${Math.ceil(Number(least?.[1]) + 16)}MiB`]);
    expect(run.code, run.stderr).toBe(0);
    expect(JSON.parse(run.stdout).lowrank).toEqual((first as { lowrank: unknown }).lowrank);
  }, 120_000);

  it("trains anew what was kept in another dtype, from the same activations", async () => {
    const copy = join(home.path, "copy");
    cpSync(bundle, copy, { recursive: true });
    const changed = [
      "train-predictor",
      copy,
      ...args.slice(2, 6),
      "--rank",
      "32",
      "--epochs",
      "0",
      ...common,
    ];
    const results = [];
    for (const [dtype, keep] of [
      ["q8_0", "--keep"],
      ["f16", "--keep"],
      ["q8_0", ""],
    ] as const) {
      const flags = [...(dtype === "f16" ? ["--head-dtype", "f16"] : []), ...(keep ? [keep] : [])];
      const run = await flashlm(home.path, [...changed, ...flags]);
      expect(run.code, run.stderr).toBe(0);
      const index = await openBundle(copy);
      await verifyBundle(copy);
      expect(dtypesOf(index)).toEqual([dtype, dtype]);
      results.push({ json: JSON.parse(run.stdout), heads: index.manifest.heads! });
    }
    const [blocks, halves, again] = results;
    expect(halves!.json.resumedTokens).toBe(halves!.json.tokenCount);
    expect(again!.heads).toEqual(blocks!.heads);
    expect(halves!.heads).not.toEqual(blocks!.heads);
    const { mean } = blocks!.json.lowrank;
    for (const [name, value] of Object.entries(halves!.json.lowrank.mean as Record<string, number>))
      expect(Math.abs(mean[name] - value), name).toBeLessThan(0.02);
  }, 120_000);

  it.each(["lowrank:0.002", "lookahead:0.002", "lowrank"])(
    "computes with %s what the dense model computes, nearly",
    async (sparsity) => {
      const list = expected.prompt.join(",");
      const run = await flashlm(home.path, [
        "logits",
        bundle,
        "--tokens",
        list,
        "--out",
        logits,
        "--sparsity",
        sparsity,
        ...common,
      ]);
      expect(run.code, run.stderr).toBe(0);
      const found = readFloats(logits, "logits");
      const reference = readFloats(join(model!, "expected.safetensors"), "logits").values;
      let difference = 0;
      let squares = 0;
      for (const [index, value] of found.values.entries()) {
        difference += (value - reference[index]!) ** 2;
        squares += reference[index]! ** 2;
      }
      expect(difference).toBeGreaterThan(0);
      expect(Math.sqrt(difference / squares)).toBeLessThan(sparsity === "lowrank" ? 0.3 : 0.1);
    },
  );

  it("refuses what it cannot train on", async () => {
    const both = await flashlm(home.path, ["train-predictor", bundle, "--text", tokens, "--tokens", tokens]);
    expect(both).toMatchObject({ code: 1 });
    expect(both.stderr).toMatch(/\[ENGINE_OPTION\]/);
    const ranks = await flashlm(home.path, [
      ...args.slice(0, 4),
      "--rank",
      "8,8,8,8,8,8,8",
      "--window",
      "32",
    ]);
    expect(ranks.stderr).toMatch(/one per layer.*\[ENGINE_OPTION\]/);
  });
});

describe("what training reads", () => {
  it("keeps contributions to within 4.5 %", () => {
    for (let value = 2e-5; value < 5e4; value *= 1.037) {
      const kept = CONTRIBUTION_OF_CODE[codeOfContribution(value)]!;
      expect(Math.abs(kept / value - 1)).toBeLessThan(0.045);
    }
    expect([0, 1e-30, 1e30, Number.NaN].map(codeOfContribution)).toEqual([0, 1, 255, 255]);
  });

  it("takes windows from all of a text and holds every eighth out", () => {
    const windows = spreadWindows(
      Array.from({ length: 1000 }, (_, token) => token),
      10,
      160,
    );
    expect(windows).toHaveLength(16);
    expect(windows[0]![0]).toBe(0);
    expect(windows[15]![0]).toBeGreaterThan(900);
    const { training, heldOut } = splitTokens(windows);
    expect([...heldOut]).toEqual(
      [...Array(20).keys()].map((index) => (index < 10 ? 70 + index : 140 + index)),
    );
    expect(training.length + heldOut.length).toBe(160);
    const short = spreadWindows(new Array(4096).fill(0), 256, 1024);
    expect(short.map((window) => window.length)).toEqual(new Array(8).fill(128));
    expect(spreadWindows(new Array(90).fill(0), 64, 128).map((window) => window.length)).toEqual([32, 32]);
    const few = splitTokens([new Array(64).fill(0)]);
    expect(few.heldOut.length).toBeGreaterThan(0);
  });

  it("takes the largest contributions where nothing is exactly zero", () => {
    const codes = Uint8Array.of(9, 3, 7, 1, 5, 5, 5, 200);
    keepLargest(codes, 4, 0.5);
    expect([...codes]).toEqual([9, 0, 7, 0, 0, 0, 0, 200]);
  });
});

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { principalDirections } from "../src/synthetic/principal-directions.js";
import { fitPopularity, windowStatistics } from "../src/synthetic/window-statistics.js";
import { flashlm, temporaryFolder } from "./support/cli.js";

/** Writing, bundling, a dense run and four fits take 10 s of a free core. */
const SYNTH_LIMIT_MS = 300_000;
const folder = temporaryFolder();
const home = join(folder.path, "home");
afterAll(folder.dispose);

interface Head {
  readonly predicted: { readonly share: number; readonly unionShare: number; readonly freshShare: number };
  readonly missedBySmallHead: number;
  readonly activeShare: number;
}
interface Layer {
  readonly activeShare: number;
  readonly targetActiveShare: number;
  readonly popularity: { readonly exponent: number; readonly determination: number };
  readonly heads: Head;
}
const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length;

describe("flashlm synth", () => {
  test(
    "tiny has the paper's statistics on a dense run, and says that it is synthetic",
    async () => {
      const out = join(folder.path, "tiny");
      const { code, stdout, stderr } = await flashlm(home, [
        "synth",
        "--preset",
        "tiny",
        "--out",
        out,
        "--json",
      ]);
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
      const { statistics, synthetic } = JSON.parse(stdout) as {
        statistics: { layers: Layer[] };
        synthetic: boolean;
      };
      const { layers } = statistics;
      expect(synthetic).toBe(true);
      expect(layers).toHaveLength(4);
      for (const layer of layers) {
        expect(Math.abs(layer.activeShare / layer.targetActiveShare - 1)).toBeLessThan(0.12);
        // The heads' own arithmetic, on the first half of the neurons, agrees with the engine's.
        expect(Math.abs(layer.heads.activeShare / layer.activeShare - 1)).toBeLessThan(0.25);
        expect(layer.heads.missedBySmallHead).toBeGreaterThan(0.15);
        expect(layer.popularity.determination).toBeGreaterThan(0.95);
      }
      const heads = layers.map((layer) => layer.heads.predicted);
      expect(mean(heads.map((head) => head.share))).toBeGreaterThan(0.06);
      expect(mean(heads.map((head) => head.share))).toBeLessThan(0.14);
      expect(mean(heads.map((head) => head.unionShare))).toBeGreaterThan(0.16);
      expect(mean(heads.map((head) => head.unionShare))).toBeLessThan(0.32);
      expect(mean(heads.map((head) => head.freshShare))).toBeLessThan(0.035);
      expect(readFileSync(join(out, "README.md"), "utf8")).toContain("## Measured");
      expect(existsSync(join(out, "statistics.json"))).toBe(true);
      const tokens = JSON.parse(readFileSync(join(out, "tokens.json"), "utf8")).tokens.slice(0, 12);
      const run = await flashlm(home, [
        ...["run", out, "--prompt-tokens", tokens.join(","), "--max-tokens", "4", "--temperature", "0"],
      ]);
      expect(run.code).toBe(0);
      expect(run.stderr).toContain("weights synthetic, random");
      expect(run.stdout).toMatch(/syn\d{6}/);
    },
    SYNTH_LIMIT_MS,
  );
});

describe("statistics of windows", () => {
  test("union and fresh share of a sequence that was counted by hand", () => {
    // Neuron 0 is always there, neuron 1 every third token, neuron 2 never.
    const flags = Uint8Array.from([1, 1, 0, 1, 0, 0, 1, 0, 0, 1, 1, 0, 1, 0, 0, 1, 0, 0]);
    const statistics = windowStatistics(flags, 3, 2);
    // Tokens 1 to 5: union 2, 1, 2, 2, 1; fresh 0, 0, 1, 0, 0; members 1, 1, 2, 1, 1.
    expect(statistics).toEqual({ share: 6 / 15, unionShare: 8 / 15, freshShare: 1 / 15 });
  });

  test("the exponent of an exact power law", () => {
    const counts = Uint32Array.from({ length: 2000 }, (_, rank) => Math.round(1e6 * (rank + 0.5) ** -0.7));
    const { exponent, determination } = fitPopularity(counts);
    expect(exponent).toBeCloseTo(0.7, 2);
    expect(determination).toBeGreaterThan(0.999);
  });

  test("principal directions of points in a plane", () => {
    const values = new Float32Array(60 * 5);
    for (let row = 0; row < 60; row++) {
      const angle = (2 * Math.PI * row) / 60;
      // Variance 9 along the second axis, 1 along the fourth.
      values[row * 5 + 1] = 3 * Math.cos(angle);
      values[row * 5 + 3] = Math.sin(angle);
    }
    const directions = principalDirections({ rowCount: 60, columnCount: 5, values }, 2).values;
    expect(Math.abs(directions[1]!)).toBeCloseTo(1, 5);
    expect(Math.abs(directions[5 + 3]!)).toBeCloseTo(1, 5);
  });
});

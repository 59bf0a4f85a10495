import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { EngineSpeed } from "@flashlm/runtime";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { ResidentComparison } from "../src/commands/plan-residents.js";
import { fixture, flashlm, temporaryFolder } from "./support/cli.js";

const model = fixture("families/llama");
const home = temporaryFolder();
const plain = join(home.path, "plain");
const mixed = join(home.path, "mixed");
const common = ["--kernels", "wasm", "--threads", "1"];
const prompt = ["--prompt-tokens", "5,9,2,7,1", "--temperature", "0", "--ignore-eos", "--max-tokens", "128"];

/** Of runs and of plans, so that auto and plan mean the same. */
const CONTEXT = ["--context", "136"];

interface Run {
  readonly tokens: number[];
  readonly mode: Readonly<Record<string, string>>;
}
interface Plan {
  readonly residents: ResidentComparison;
  readonly residentReason?: string;
  readonly weightBytes: number;
  readonly rows: readonly { readonly forecast: { readonly tokenMs: number } }[];
}

async function json<Value>(...args: string[]): Promise<Value> {
  const { code, stdout, stderr } = await flashlm(home.path, [...args, ...common, "--json"]);
  expect(code, stderr).toBe(0);
  return JSON.parse(stdout) as Value;
}

const run = (name: string, ...more: string[]): Promise<Run> =>
  json("run", name, ...prompt, ...CONTEXT, ...more);

/** Limits under which the fixture's records have few slots: of the f16 bundle's weights. */
const LIMIT = ["--memory", "300%"];

/** Bundles that were made on first use. */
function madeBundles(): string[] {
  return readdirSync(join(home.path, "bundles")).sort();
}

/** Rewrites what was measured of this machine. */
function change(name: string, make: (saved: Record<string, unknown>) => unknown): void {
  for (const file of readdirSync(join(home.path, name))) {
    const path = join(home.path, name, file);
    writeFileSync(path, JSON.stringify(make(JSON.parse(readFileSync(path, "utf8")))));
  }
}

afterAll(home.dispose);

describe.skipIf(model === null)("--resident-dtype", () => {
  beforeAll(async () => {
    const source = ["bundle", model!, "--dtype", "f16"];
    for (const args of [
      ["--out", plain],
      ["--out", mixed, "--resident-dtype", "q8_0"],
    ]) {
      const { code, stderr } = await flashlm(home.path, [...source, ...args]);
      expect(code, stderr).toBe(0);
    }
  }, 60_000);

  it("is in what inspect shows, and in a run's mode line; the limit changes no token", async () => {
    const { stdout } = await flashlm(home.path, ["inspect", mixed, "--verify"]);
    expect(stdout).toContain("as f16, residents q8_0: f16 was asked for; for attention and embeddings q8_0");
    expect(stdout).toContain("F32 -> q8_0 (attention and embeddings)");
    expect(stdout).toContain("every checksum agrees");
    const manifest = await flashlm(home.path, ["inspect", mixed, "--json"]);
    expect(JSON.parse(manifest.stdout)).toMatchObject({ dtype: "f16", residentDtype: "q8_0" });
    const all = await run(mixed, "--memory", "max");
    expect(all.mode.dtype).toBe("f16, residents q8_0 requantised");
    expect(all.tokens).toHaveLength(128);
    expect((await run(mixed, ...LIMIT)).tokens).toEqual(all.tokens);
  }, 60_000);

  it("makes a bundle of its own on first use, and none where residents are so anyway", async () => {
    const first = await run(model!, "--dtype", "f16", "--resident-dtype", "q8_0");
    expect(first.mode.dtype).toBe("f16, residents q8_0 requantised");
    expect(first.tokens).toEqual((await run(mixed)).tokens);
    expect(madeBundles()).toEqual([expect.stringMatching(/-f16-residents-q8_0$/)]);
    await run(model!, "--dtype", "f16");
    await run(model!, "--dtype", "f16", "--resident-dtype", "f16");
    expect(madeBundles()).toEqual([
      expect.stringMatching(/-f16$/),
      expect.stringMatching(/-residents-q8_0$/),
    ]);
  }, 60_000);

  it("of a bundle is what it is: another one and auto are refused by name", async () => {
    const refused = async (...args: string[]): Promise<string> => {
      const { code, stderr } = await flashlm(home.path, [...args, ...common]);
      expect(code).not.toBe(0);
      return stderr;
    };
    expect(await refused("run", plain, ...prompt, "--resident-dtype", "q8_0")).toMatch(
      /residents in q8_0 but those of .* are in f16\. Name the checkpoint.*\[BUNDLE_DTYPE\]/,
    );
    for (const command of [
      ["run", plain, ...prompt],
      ["plan", plain],
    ])
      expect(await refused(...command, "--resident-dtype", "auto")).toMatch(
        /is a bundle, whose residents are stored already\. Leave it out, or name the checkpoint\. \[ENGINE_OPTION\]/,
      );
    expect(
      await refused("logits", plain, "--tokens", "1", "--out", "x", "--resident-dtype", "auto"),
    ).toContain("Allowed choices are f32, f16, bf16, q8_0, q4_0, q4_1");
    expect(await refused("bundle", model!, "--out", "x", "--resident-dtype", "q2_k")).toContain("choices");
  }, 60_000);

  it("auto keeps the default while nothing has been measured, and says so", async () => {
    const { mode } = await run(model!, "--dtype", "f16", "--resident-dtype", "auto");
    expect(mode.dtype).toBe("f16 requantised");
    expect(mode.residents).toMatch(/^f16 \(auto: the disk or the kernels have not been measured/);
  }, 60_000);

  it("plan forecasts coarser residents: more slots in the same memory, and which is fastest", async () => {
    await flashlm(home.path, ["device", home.path, "--seconds", "1", "--file-mib", "16", "--json"]);
    const planned = await json<Plan>("plan", plain, ...CONTEXT, ...LIMIT);
    const { coarser, dtype, fastest, forecasts } = planned.residents;
    expect(dtype).toBe("f16");
    expect(coarser).toMatchObject({
      dtype: "q8_0",
      command: "flashlm bundle CHECKPOINT --out FOLDER --dtype f16 --resident-dtype q8_0",
      assumptions: [expect.stringContaining("as much less time as they have fewer bytes")],
    });
    expect(forecasts[0]!.tokenMs).toBe(planned.rows[0]!.forecast.tokenMs);
    expect(coarser!.forecasts[0]!.slotCount).toBeGreaterThan(forecasts[0]!.slotCount);
    expect(["f16", "q8_0"]).toContain(fastest[0]);
    const { stdout } = await flashlm(home.path, ["plan", plain, ...common, ...CONTEXT, ...LIMIT]);
    expect(stdout).toMatch(
      /residents: f16 \(as in the bundle.*\); q8_0 would give [\d.]+ ms\/token, \d+ slots: flashlm bundle CHECKPOINT/,
    );
    expect(stdout).toContain("assumed: with residents in q8_0 attention and head take");
    const table = await flashlm(home.path, ["plan", plain, ...common]);
    expect(table.stdout).toContain("residents (--resident-dtype) by memory limit:");
    // Residents of q8_0 have nothing coarser that is proposed.
    const own = await json<Plan>("plan", mixed, ...CONTEXT, ...LIMIT);
    expect(own.residents).toMatchObject({ dtype: "q8_0", coarser: null, fastest: ["q8_0"] });
    expect(own.weightBytes).toBeLessThan(planned.weightBytes);
    // The kernels of such a bundle have been measured now, and nothing is assumed of them.
    expect((await json<Plan>("plan", plain, ...CONTEXT, ...LIMIT)).residents.coarser!.assumptions).toEqual(
      [],
    );
  }, 120_000);

  it("auto takes the precision whose forecast is a tenth better, and shows both", async () => {
    const asked = ["--dtype", "f16", "--resident-dtype", "auto"];
    // All in memory, and all that was measured is the same for both: on a busy machine a rehearsal of one may differ by more than a tenth.
    let first: Record<string, unknown> | undefined;
    change("kernels", (saved) => {
      first ??= { ...saved, layerMs: 1, headMs: 1 };
      return first;
    });
    const kept = await run(model!, ...asked, "--memory", "max");
    expect(kept.mode.dtype).toBe("f16 requantised");
    expect(kept.mode.residents).toMatch(
      /^f16 \(auto: forecast [\d.]+ ms\/token with q8_0, [\d.]+ with f16\)$/,
    );
    // A megabyte takes a second, so that what more slots save is most of a token's time.
    const slower = (cell: object): object => ({ ...cell, bytesPerSecond: 1e6 });
    change("devices", (saved) => ({
      ...saved,
      cells: (saved.cells as { origin: string }[]).map((cell) =>
        cell.origin === "skipped" ? cell : slower(cell),
      ),
      sequential: slower(saved.sequential as object),
    }));
    // What was rehearsed knows the disk as it is.
    change("kernels", (saved) => {
      const engine = saved.engine as EngineSpeed;
      const streams = engine.dense.streams.map((stream) => ({ ...stream, bytesPerSecond: 1e6 }));
      return { ...saved, engine: { ...engine, dense: { ...engine.dense, streams } } };
    });
    const taken = await run(model!, ...asked, ...LIMIT);
    expect(taken.mode.residents).toMatch(
      /^q8_0 \(auto: forecast [\d.]+ ms\/token with q8_0, [\d.]+ with f16\)$/,
    );
    expect(taken.mode.dtype).toBe("f16, residents q8_0 requantised");
    expect(taken.tokens).toEqual((await run(mixed)).tokens);
    const planned = await json<Plan>("plan", model!, ...asked, ...CONTEXT, ...LIMIT);
    expect(planned.residentReason).toMatch(/^q8_0 \(auto: /);
    expect(planned.residents.dtype).toBe("q8_0");
  }, 120_000);
});

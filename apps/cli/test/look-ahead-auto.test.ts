import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openBundle, writeHeads } from "@flashlm/bundler";
import type { EngineSpeed, TokenForecast } from "@flashlm/runtime";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { fixture, flashlm, temporaryFolder } from "./support/cli.js";

const model = fixture("families/llama-relu");
const home = temporaryFolder();
const bundle = join(home.path, "bundle");
const RANK = 8;

const common = ["--kernels", "wasm", "--threads", "1", "--json", "--sparsity", "lowrank", "--context", "64"];
const prompt = ["--prompt-tokens", "5,9,2,7,1", "--temperature", "0", "--ignore-eos", "--max-tokens", "8"];

interface Run {
  readonly tokens: number[];
  readonly mode: Readonly<Record<string, string>>;
  readonly report: { readonly forecast: TokenForecast | null };
}
interface Row {
  readonly lookAhead?: "on" | "off";
  readonly otherWayMs?: number;
  readonly forecast: TokenForecast;
}

async function json(args: readonly string[]): Promise<unknown> {
  const { code, stdout, stderr } = await flashlm(home.path, [...args, ...common]);
  expect(code, stderr).toBe(0);
  return JSON.parse(stdout);
}

const run = (...more: string[]): Promise<Run> => json(["run", bundle, ...prompt, ...more]) as Promise<Run>;
async function row(...more: string[]): Promise<Row> {
  return ((await json(["plan", bundle, ...more])) as { rows: Row[] }).rows[0]!;
}

/** Heads that name most neurons: what they say does not matter here, only what it costs. */
async function addHeads(): Promise<void> {
  const { manifest } = await openBundle(bundle);
  const { hiddenSize, ffn } = manifest.model;
  const point = { missedTarget: 0.02, threshold: -1, predictedShare: 0.5, missedShare: 0.02 };
  const list = manifest.layers.map((_, layerIndex) => ({
    layerIndex,
    rank: RANK,
    points: [{ ...point, falseNegativeShare: 0.1, falsePositiveShare: 0.1 }],
  }));
  const halves = (count: number): Uint8Array => new Uint8Array(new Uint16Array(count).fill(0x2c00).buffer);
  await writeHeads(bundle, {
    heads: {
      text: "made",
      tokenCount: 2,
      heldOutTokenCount: 1,
      lowrank: list,
      lookahead: list.slice(0, -1),
    },
    weights: () => ({
      a: halves(RANK * hiddenSize),
      b: halves(ffn.neuronCount * RANK),
      bias: new Float32Array(ffn.neuronCount),
    }),
  });
}

/** Rewrites what was measured of this machine: a megabyte takes a second, and attention longer. */
function slowDown(): void {
  const rewrite = (name: string, change: (saved: Record<string, unknown>) => unknown): void => {
    const folder = join(home.path, name);
    for (const file of readdirSync(folder)) {
      const path = join(folder, file);
      writeFileSync(path, JSON.stringify(change(JSON.parse(readFileSync(path, "utf8")))));
    }
  };
  const slower = <Cell extends { bytesPerSecond: number }>(cell: Cell): Cell => ({
    ...cell,
    bytesPerSecond: 1e6,
  });
  rewrite("devices", (saved) => ({
    ...saved,
    // A skipped cell has no speed, and stays so: it counts as the sequential one.
    cells: (saved.cells as { origin: string; bytesPerSecond: number }[]).map((cell) =>
      cell.origin === "skipped" ? cell : slower(cell),
    ),
    sequential: slower(saved.sequential as { bytesPerSecond: number }),
  }));
  // What was rehearsed knows the disk as it is.
  rewrite("kernels", (saved) => {
    const engine = saved.engine as EngineSpeed;
    const slow = (costs: EngineSpeed["sparse"]["misses"]) =>
      costs.map((cost) => ({ ...cost, waitMs: cost.missCount, streamedMs: cost.missCount }));
    const { misses, overflows } = engine.sparse;
    const sparse = { ...engine.sparse, misses: slow(misses), overflows: slow(overflows) };
    return { ...saved, layerMs: 1000, engine: { ...engine, sparse } };
  });
}

afterAll(home.dispose);

describe.skipIf(model === null)("--look-ahead auto", () => {
  beforeAll(async () => {
    const made = await flashlm(home.path, ["bundle", model!, "--out", bundle, "--dtype", "f32"]);
    expect(made.code, made.stderr).toBe(0);
    await addHeads();
  }, 60_000);

  it("is on wherever there are heads while nothing has been measured", async () => {
    const { mode, report } = await run("--memory", "max");
    expect(mode["look-ahead"]).toBe("on");
    expect(report.forecast).toBeNull();
  }, 60_000);

  it("is off where nothing is read, and says why; asked for it stays on, with the same tokens", async () => {
    await flashlm(home.path, ["device", home.path, "--seconds", "1", "--file-mib", "16", "--json"]);
    const planned = await row("--memory", "max");
    expect(planned.lookAhead).toBe("off");
    expect(planned.otherWayMs).toBeGreaterThan(planned.forecast.tokenMs);
    const auto = await run("--memory", "max");
    expect(auto.mode["look-ahead"]).toMatch(/^off \(forecast [\d.]+ ms\/token, [\d.]+ with it\)$/);
    const asked = await run("--memory", "max", "--look-ahead", "on");
    expect(asked.mode["look-ahead"]).toBe("on");
    expect(asked.tokens).toEqual(auto.tokens);
    // The forecast is of what ran: the look-ahead head's scores cost something, and hide nothing here.
    expect(asked.report.forecast!.computeMs).toBeGreaterThan(auto.report.forecast!.computeMs);
    expect(asked.report.forecast!.ioWaitMs).toBe(0);
  }, 60_000);

  it("is on where reads take long and can hide, and the forecast of the run counts it", async () => {
    slowDown();
    // Enough for slots with both heads, too little for all neurons.
    const limit = ["--memory", "180%"];
    const planned = await row(...limit);
    expect(planned.lookAhead).toBe("on");
    expect(planned.otherWayMs).toBeGreaterThan(planned.forecast.tokenMs);
    const auto = await run(...limit);
    expect(auto.mode["look-ahead"]).toBe("on");
    const off = await run(...limit, "--look-ahead", "off");
    expect(off.mode["look-ahead"]).toBe("off");
    expect(off.tokens).toEqual(auto.tokens);
    expect(auto.report.forecast!.ioWaitMs).toBeLessThan(off.report.forecast!.ioWaitMs);
  }, 60_000);
});

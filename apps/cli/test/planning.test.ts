import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { fixture, flashlm, temporaryFolder } from "./support/cli.js";

const model = fixture("families/llama");
const folder = temporaryFolder();
const home = join(folder.path, "home");
afterAll(folder.dispose);

describe.skipIf(model === null)("planning", () => {
  const prompt = ["--prompt-tokens", "5,9,2,7,1", "--temperature", "0", "--ignore-eos", "--json"];
  const trace = join(folder.path, "run.trace");

  test("run --trace records every decoded token, and changes none", async () => {
    const plain = await flashlm(home, ["run", model!, ...prompt, "--max-tokens", "12"]);
    const traced = await flashlm(home, ["run", model!, ...prompt, "--max-tokens", "12", "--trace", trace]);
    expect(traced).toMatchObject({ code: 0, stderr: "" });
    expect(JSON.parse(traced.stdout).tokens).toEqual(JSON.parse(plain.stdout).tokens);
    expect(existsSync(trace)).toBe(true);
    expect(existsSync(`${trace}.partial`)).toBe(false);
  });

  test("replay compares caches with the optimum", async () => {
    const { code, stdout } = await flashlm(home, [
      ...["replay", trace, "--slots", "50%,100%", "--caches", "window,lru,lfu,pinned,hybrid:0.25", "--json"],
    ]);
    expect(code).toBe(0);
    const { results, demand, tokenCount } = JSON.parse(stdout);
    // The prompt's last token is decoded like the others; the last token that is drawn is not.
    expect(tokenCount).toBe(12);
    expect(demand.share).toBe(1);
    const rates = (slots: number): number[] =>
      results[slots].rows.map((row: { hitRate: number }) => row.hitRate);
    // Every neuron for every token: half of them can be kept, and no cache does better.
    expect(results[0].rows.map((row: { name: string }) => row.name)).toEqual([
      ...["belady", "window", "lru", "lfu", "pinned", "hybrid:0.25"],
    ]);
    for (const rate of rates(0)) expect(rate).toBeCloseTo(0.5, 10);
    for (const rate of rates(1)) expect(rate).toBe(1);
  });

  test("replay refuses what is no trace, and bad options, with codes", async () => {
    const other = join(folder.path, "other");
    writeFileSync(other, "not a trace");
    expect((await flashlm(home, ["replay", other])).stderr).toContain("[TRACE_FORMAT]");
    expect((await flashlm(home, ["replay", join(folder.path, "absent")])).stderr).toContain("[TRACE_FORMAT]");
    expect((await flashlm(home, ["replay", trace, "--slots", "150%"])).stderr).toContain("[ENGINE_OPTION]");
    expect((await flashlm(home, ["replay", trace, "--caches", "best"])).stderr).toContain("[ENGINE_OPTION]");
    writeFileSync(other, readFileSync(trace).subarray(0, 60));
    expect((await flashlm(home, ["replay", other])).stderr).toContain("[TRACE_FORMAT]");
  });

  test("plan forecasts a token by memory limit before any run, and the run then reports against it", async () => {
    await flashlm(home, ["device", home, "--seconds", "1", "--file-mib", "16", "--json"]);
    const table = await flashlm(home, ["plan", model!, "--json"]);
    expect(table.code).toBe(0);
    const { rows, kernel } = JSON.parse(table.stdout);
    expect(kernel.layerMs).toBeGreaterThan(0);
    expect(rows[0]).toMatchObject({ memory: "25%", tooSmall: expect.stringContaining("Expected at least") });
    // The fixture's weights are less than an engine needs beside them: limits are several times the weights.
    const forecasts = [];
    for (const memory of ["875%", "900%", "max"]) {
      const limits = ["--memory", memory, "--context", "64", "--json"];
      forecasts.push(JSON.parse((await flashlm(home, ["plan", model!, ...limits])).stdout).rows[0].forecast);
    }
    for (const { tokenMs, ioWaitMs, cacheMs, computeMs } of forecasts)
      expect(tokenMs).toBeCloseTo(ioWaitMs + cacheMs + computeMs, 6);
    // More memory never reads more, and all of it reads nothing.
    const reads = forecasts.map((forecast: { readBytes: number }) => forecast.readBytes);
    expect(reads).toEqual([...reads].sort((a: number, b: number) => b - a));
    expect(reads.at(-1)).toBe(0);
    const { report } = JSON.parse(
      (await flashlm(home, ["run", model!, ...prompt, "--max-tokens", "6"])).stdout,
    );
    expect(report.forecast.tokenMs).toBeGreaterThan(0);
    expect(report.forecastRatio).toBeCloseTo(report.forecast.tokenMs / report.msPerToken, 6);
    expect((await flashlm(home, ["plan", model!, "--memory", "1%"])).stderr).toContain("[BUDGET_TOO_SMALL]");
  });

  test("a limit for the whole process that is too small names one that is not", async () => {
    const command = ["run", model!, ...prompt, "--max-tokens", "2", "--context", "64", "--memory"];
    const { stderr } = await flashlm(home, [...command, "20MiB"]);
    const least =
      /Expected --memory of at least ([\d.]+) MiB, of which the process .*but it is 20.0 MiB/.exec(stderr);
    // What the process itself takes differs by a few MiB from run to run.
    const { code } = await flashlm(home, [...command, `${Math.ceil(Number(least?.[1]) + 16)}MiB`]);
    expect(code).toBe(0);
  });

  test("eval speaks of the whole process, too", async () => {
    const { stderr } = await flashlm(home, ["eval", model!, "--tokens", "1,2,3,4", "--memory", "20MiB"]);
    expect(stderr).toMatch(
      /Expected --memory of at least [\d.]+ MiB, of which the process .*, the sparsity statistics [\d.]+ KiB.*\[BUDGET_TOO_SMALL\]/,
    );
  });

  test("the forecast of what a dense run reads agrees with what it reads", async () => {
    const context = ["--context", "64"];
    const { stderr } = await flashlm(home, ["run", model!, ...prompt, ...context, "--memory", "1%"]);
    const leastBytes = Number(/Expected at least (\d+) bytes/.exec(stderr)?.[1]);
    const { weightBytes } = JSON.parse((await flashlm(home, ["inspect", model!, "--json"])).stdout);
    // Two hundredths more than the least: most neurons are read for every token.
    const limit = ["--memory", `${Math.ceil((102 * leastBytes) / weightBytes)}%`, ...context];
    const { report } = JSON.parse(
      (await flashlm(home, ["run", model!, ...prompt, ...limit, "--max-tokens", "24"])).stdout,
    );
    expect(report.readBytesPerToken).toBeGreaterThan(0);
    expect(report.forecast.readBytes / report.readBytesPerToken).toBeGreaterThan(0.8);
    expect(report.forecast.readBytes / report.readBytesPerToken).toBeLessThan(1.25);
  });
});

import { existsSync } from "node:fs";
import { flashlmJson, MODELS } from "../lib/flashlm.mjs";

/** A forecast may be so far from what is measured. */
const TOLERANCE = 0.2;
const BUDGETS = ["35%", "50%", "75%", "100%"];
const TOKENS = 48;
/** Runs of each budget; the median counts. */
const RUNS = 3;
const DEVICE_SECONDS = 12;
const PROMPT = "The method returns a list of the words in the string, using sep as the delimiter.";

const SHAPES = [
  { name: "SmolLM2 dense", model: MODELS.smollm2, sparsity: "dense", dtype: "q4_1" },
  { name: "ReLU student oracle", model: MODELS.student, sparsity: "oracle", dtype: "q8_0" },
];

const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];

/** Forecast and measured ms per token of one budget, or null where the model cannot run in it. */
async function compare(shape, memory) {
  const common = [shape.model, "--memory", memory, "--sparsity", shape.sparsity, "--dtype", shape.dtype];
  const runs = [];
  for (let index = 0; index < RUNS; index++) {
    try {
      const { report } = await flashlmJson([
        ...["run", ...common, PROMPT, "--raw", "--temperature", "0", "--ignore-eos"],
        ...["--max-tokens", String(TOKENS)],
      ]);
      runs.push(report);
    } catch (error) {
      if (String(error).includes("BUDGET_TOO_SMALL")) return null;
      throw error;
    }
  }
  const measuredMs = median(runs.map((report) => report.msPerToken));
  const run = runs.find((report) => report.msPerToken === measuredMs);
  if (run.forecast === null)
    throw new Error("the run has no forecast, although device and kernels were measured");
  return { measuredMs, forecastMs: run.forecast.tokenMs, ratio: run.forecast.tokenMs / measuredMs };
}

async function forecastIsClose() {
  const lines = [];
  let ok = true;
  for (const shape of SHAPES) {
    if (!existsSync(shape.model)) throw new Error(`${shape.model} is not there`);
    // Makes the bundle, and measures the kernels and what the predictor asks for.
    await flashlmJson(["plan", shape.model, "--dtype", shape.dtype, "--sparsity", shape.sparsity]);
    await flashlmJson(["device", "--seconds", String(DEVICE_SECONDS)]);
    await demandOf(shape);
    for (const memory of BUDGETS) {
      const result = await compare(shape, memory);
      if (result === null) {
        lines.push(`${shape.name} ${memory}: too small to run`);
        continue;
      }
      const close = Math.abs(result.ratio - 1) <= TOLERANCE;
      ok &&= close;
      lines.push(
        `${shape.name} ${memory}: forecast ${result.forecastMs.toFixed(1)} ms, measured ${result.measuredMs.toFixed(1)} ms, ${(100 * (result.ratio - 1)).toFixed(0)} %${close ? "" : " (too far)"}`,
      );
    }
  }
  return { ok, figure: lines.join("; ") };
}

/** Sparse forecasts need the demand, which `eval` measures on a text: the project's own README. */
async function demandOf(shape) {
  if (shape.sparsity === "dense") return;
  const text = new URL("../../README.md", import.meta.url).pathname;
  await flashlmJson([
    ...["eval", shape.model, "--dtype", shape.dtype, "--sparsity", shape.sparsity],
    ...["--text", text, "--limit", "512", "--window", "256"],
  ]);
}

/** Points about the cost model. */
export const points = [
  {
    name: "paper.8",
    title: "the forecast is within 20 % of the measured token time at 35, 50, 75 and 100 %, for two shapes",
    heavy: true,
    run: forecastIsClose,
  },
];

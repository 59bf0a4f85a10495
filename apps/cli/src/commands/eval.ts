import { FlashlmError, isExactlySparse, type ModelDemand } from "@flashlm/contracts";
import { parseSparsity } from "@flashlm/predictor";
import { type EngineParts, freshShare, PROMPT_CHUNK_TOKENS, type TokenForecast } from "@flashlm/runtime";
import type { Command } from "commander";
import { createEngineWithin, isTooSmall } from "../engine-memory.js";
import { composeParts, engineOptions } from "../engine-parts.js";
import { forecastLimit, type Measured, measureForForecast } from "../forecasting.js";
import { saveDemand } from "../measured-store.js";
import { parseMemory } from "../memory-option.js";
import { type EngineFlags, wholeNumber, withEngineFlags } from "../options.js";
import { createProgress, type Progress } from "../progress.js";
import { type OpenModel, openModel, setUpEngine } from "../session.js";
import { resolveSparsity } from "../sparsity-auto.js";
import { type LayerSparsity, SparsityStatistics, sparsityStatisticsBytes } from "../sparsity-statistics.js";
import { readTextTokens, type TextFlags } from "../text-option.js";
import { describeEvaluation } from "./eval-report.js";
import { cutWindows } from "./perplexity.js";

interface EvalFlags extends EngineFlags, TextFlags {
  readonly window: number;
  readonly limit: number;
}

/** Memory limits that speeds are forecast for. */
const BUDGETS = ["35%", "50%", "75%", "100%"] as const;
/** What is kept of models without exact zeros, when nothing is asked for. */
const SHADOW_DEFAULT = "shadow:0.6";

/** Mean loss of a text, dense or sparse. */
export interface Loss {
  readonly meanNll: number;
  readonly perplexity: number;
}

/** Forecast of one memory limit. Null where the limit is too small for that way to run. */
export interface BudgetSpeed {
  readonly memory: string;
  readonly dense: TokenForecast | null;
  readonly sparse: TokenForecast | null;
}

/** Everything that `flashlm eval` found. */
export interface Evaluation {
  readonly sparsity: string;
  readonly scoredTokens: number;
  readonly dense: Loss;
  readonly sparse: Loss;
  /** Sparse over dense mean loss, less one. */
  readonly nllChange: number;
  readonly layers: readonly LayerSparsity[];
  /** Share of a token's predicted neurons that the last 1, 2, 5 and 10 tokens predicted too, all layers. */
  readonly windowOverlap: Readonly<Record<string, number>>;
  /** Empty where `--memory` leaves too little to measure the kernels in, and they have not been before. */
  readonly speeds: readonly BudgetSpeed[];
}

/** Registers `flashlm eval`. */
export function addEval(program: Command): void {
  const command = program
    .command("eval")
    .description(
      "is sparsity worth it for this model: loss dense and sparse, what the predictor misses, window overlap, and forecast speeds",
    )
    .argument("<model>", "bundle folder, Hugging Face folder or GGUF file")
    .option("--text <file>", "UTF-8 text")
    .option("--tokens <ids>", "tokens instead of a text: 1,2,3 or a JSON file")
    .option("--window <tokens>", "tokens per window", wholeNumber("--window", 2, 1 << 20), 512)
    .option("--limit <tokens>", "tokens of the text to use", wholeNumber("--limit", 2, 1 << 20), 1024);
  withEngineFlags(command).action((model: string, flags: EvalFlags) => {
    const chosen = command.getOptionValueSource("sparsity") !== "default";
    return evaluate(model, flags, chosen);
  });
}

async function evaluate(name: string, asked: EvalFlags, sparsityChosen: boolean): Promise<void> {
  const opened = await openModel(name, asked);
  const chunkTokens = asked.promptChunk ?? PROMPT_CHUNK_TOKENS;
  const model: OpenModel = {
    ...opened,
    beside: {
      owner: "sparsity statistics",
      plannedBytes: sparsityStatisticsBytes(opened.bundle, chunkTokens),
    },
  };
  const exact = isExactlySparse(model.bundle.manifest.model.ffn);
  const flags = sparsityChosen
    ? await resolveSparsity(model, asked)
    : { ...asked, sparsity: exact ? "oracle" : SHADOW_DEFAULT };
  const tokens = readTextTokens(flags, model.tokenizer);
  const windows = cutWindows(tokens.slice(0, flags.limit), flags.window);
  if (windows.length === 0) {
    throw new FlashlmError(
      "ENGINE_OPTION",
      `Expected a text of at least 2 tokens but received ${tokens.length}.`,
    );
  }
  const progress = createProgress(!flags.json);
  const statistics = new SparsityStatistics(model.bundle, parseSparsity(flags.sparsity));
  const parts = composeParts(model.bundle, flags);
  const dense = await lossOf(
    model,
    flags,
    { ...parts, predictor: statistics.predictorPart() },
    windows,
    progress,
    statistics,
  );
  const sparse = await lossOf(model, flags, parts, windows, progress);
  const demand = statistics.demand();
  saveDemand(model.bundle, demand);
  const { measured, notes } = await measureWithin(model, flags, demand);
  progress.end();
  const evaluation: Evaluation = {
    sparsity: flags.sparsity,
    scoredTokens: windows.reduce((total, window) => total + window.length - 1, 0),
    dense,
    sparse,
    nllChange: sparse.meanNll / dense.meanNll - 1,
    layers: statistics.layers(),
    windowOverlap: overlaps(demand),
    speeds: measured ? BUDGETS.map((memory) => speedOf(model, flags, memory, measured)) : [],
  };
  process.stdout.write(
    flags.json
      ? `${JSON.stringify({ ...evaluation, notes })}\n`
      : `${describeEvaluation(evaluation, notes).join("\n")}\n`,
  );
}

/** What forecasts need, measured within `--memory`; null, and why, where that is too small. Engines are closed by then, statistics are not. */
async function measureWithin(
  model: OpenModel,
  flags: EngineFlags,
  demand: ModelDemand,
): Promise<{ measured: Measured | null; notes: readonly string[] }> {
  const { threadCount, memoryBytes } = setUpEngine(model, flags, 0);
  // A share of the weights limits engines, not what is measured for others.
  const limitBytes = parseMemory(flags.memory).kind === "bytes" ? memoryBytes : Number.POSITIVE_INFINITY;
  try {
    const measured = { ...(await measureForForecast(model, flags, threadCount, { limitBytes })), demand };
    return { measured, notes: measured.notes };
  } catch (error) {
    if (!isTooSmall(error)) throw error;
    return { measured: null, notes: [`no forecast: ${error.message}`] };
  }
}

async function lossOf(
  model: OpenModel,
  flags: EvalFlags,
  parts: EngineParts,
  windows: readonly (readonly number[])[],
  progress: Progress,
  statistics?: SparsityStatistics,
): Promise<Loss> {
  const setup = setUpEngine(model, flags, windows[0]!.length);
  const engine = await createEngineWithin(model, flags, parts, {
    ...engineOptions(setup),
    contextLength: flags.context ?? windows[0]!.length,
    ...(statistics ? { onActivations: statistics.observe } : {}),
  });
  try {
    let total = 0;
    let count = 0;
    for (const window of windows) {
      const losses = await engine.score(window);
      for (const loss of losses.subarray(1)) total += loss;
      count += window.length - 1;
      progress.update(
        statistics ? "dense pass" : "sparse pass",
        count / (windows.length * (window.length - 1)),
      );
    }
    return { meanNll: total / count, perplexity: Math.exp(total / count) };
  } finally {
    await engine.close();
  }
}

/** Window overlap over all layers, by neurons. */
export function overlaps(demand: ModelDemand): Record<string, number> {
  const named = demand.layers.reduce((total, layer) => total + layer.namedPerToken, 0);
  const overlap = (windowTokens: number): number =>
    demand.layers.reduce(
      (total, layer) => total + layer.namedPerToken * (1 - freshShare(layer, windowTokens)),
      0,
    ) / Math.max(1, named);
  return Object.fromEntries(
    [1, 2, 5, 10].map((windowTokens) => [String(windowTokens), overlap(windowTokens)]),
  );
}

function speedOf(model: OpenModel, flags: EvalFlags, memory: string, measured: Measured): BudgetSpeed {
  const forecast = (sparsity: string): TokenForecast | null => {
    const demand = sparsity === "dense" ? null : measured.demand;
    return forecastLimit(model, { ...flags, memory, sparsity }, { ...measured, demand });
  };
  return { memory, dense: forecast("dense"), sparse: forecast(flags.sparsity) };
}

import { FlashlmError } from "@flashlm/contracts";
import type { MemoryPlan, TokenForecast } from "@flashlm/runtime";
import type { Command } from "commander";
import { isTooSmall } from "../engine-memory.js";
import { canLookAhead } from "../engine-parts.js";
import { type Measured, measureForForecast, outlookOf } from "../forecasting.js";
import { formatBytes } from "../memory-option.js";
import { type EngineFlags, RESIDENT_CHOICES, wholeNumber, withEngineFlags } from "../options.js";
import { settleResidents } from "../resident-auto.js";
import { describePlan, type OpenModel, openModel, setUpEngine } from "../session.js";
import { resolveSparsity } from "../sparsity-auto.js";
import { formatMs, formatTable } from "../table.js";
import { comparePredictors, describePredictors, recommend } from "./plan-predictors.js";
import { compareResidents, describeResidents } from "./plan-residents.js";

interface PlanFlags extends EngineFlags {
  readonly positions?: number;
  readonly remeasure?: boolean;
}

/** Budgets of the table that is printed without `--memory`. */
const BUDGETS = ["25%", "35%", "50%", "65%", "75%", "90%", "100%", "max"] as const;

/** Registers `flashlm plan`. */
export function addPlan(program: Command): void {
  const command = program
    .command("plan")
    .description(
      "say before any run what a memory limit gives: what is resident, the forecast of a token's time, which predictor is fastest, and what coarser residents would give; without --memory for several limits",
    )
    .argument("[model]", "bundle folder, Hugging Face folder or GGUF file (default: the embedded model)");
  withEngineFlags(command, RESIDENT_CHOICES)
    .option(
      "--positions <count>",
      "context that a token attends to (default: half of the context)",
      wholeNumber("--positions", 0),
    )
    .option(
      "--remeasure",
      "measure kernels and engine again, as after a change of the machine or its load (flashlm device: the disk)",
    )
    .action((model: string | undefined, flags: PlanFlags) => plan(model, flags));
}

/** One memory limit: its plan and forecasts, or why it is too small. */
interface Row {
  readonly memory: string;
  readonly plan?: MemoryPlan;
  readonly limitBytes?: number;
  readonly overheadBytes?: number;
  /** Of what a run would use. */
  readonly forecast?: TokenForecast;
  /** Whether reads of a layer begin a layer early, and a token's time if they did not, or did; absent where there is no choice. */
  readonly lookAhead?: "on" | "off";
  readonly otherWayMs?: number;
  readonly tooSmall?: string;
}

async function plan(name: string | undefined, given: PlanFlags): Promise<void> {
  const asked = await settleResidents(name, given);
  const model = await openModel(name, asked);
  const flags = await resolveSparsity(model, asked);
  const setup = setUpEngine(model, flags, 0);
  const measured = await measureForForecast(model, flags, setup.threadCount, {
    anew: flags.remeasure ?? false,
  });
  const budgets = flags.memory === undefined ? BUDGETS : [flags.memory];
  const rows = budgets.map((memory) => planRow(model, { ...flags, memory }, measured));
  const positions = flags.positions ?? null;
  const predictors = comparePredictors(model, flags, measured, budgets, positions);
  const made = rows.map(({ plan: of, forecast }) => (of && forecast ? { plan: of, forecast } : null));
  const residents = compareResidents(model, flags, measured, budgets, positions, made);
  if (flags.memory !== undefined && rows[0]?.tooSmall !== undefined)
    throw new FlashlmError("BUDGET_TOO_SMALL", rows[0].tooSmall, { memory: flags.memory });
  if (flags.json) {
    const { device, kernel, demand } = measured;
    const recommended = recommend(predictors, budgets);
    const { residentReason } = flags;
    const chosen = { predictors, recommended, residents, ...(residentReason ? { residentReason } : {}) };
    const figures = { weightBytes: model.bundle.weightBytes, sparsity: flags.sparsity, kernel, ...chosen };
    process.stdout.write(
      `${JSON.stringify({ ...figures, device: { backend: device.backend, measuredAt: device.measuredAt }, demandTokens: demand?.tokenCount ?? null, rows })}\n`,
    );
    return;
  }
  const single = flags.memory === undefined ? null : rows[0]!;
  const lines = single ? describeOne(single) : describeTable(rows);
  const assumptions = rows.find((row) => row.forecast)?.forecast?.assumptions ?? [];
  const assumed = [...assumptions, ...(residents.coarser?.assumptions ?? [])];
  const notes = [
    ...(flags.residentReason ? [`residents: ${flags.residentReason}`] : []),
    ...measured.notes,
    ...assumed.map((text) => `assumed: ${text}`),
  ];
  process.stdout.write(
    `${[...lines, "", ...describePredictors(predictors, budgets), "", ...describeResidents(residents, budgets), "", ...notes].join("\n")}\n`,
  );
}

function planRow(model: OpenModel, flags: PlanFlags, measured: Measured): Row {
  const memory = flags.memory ?? "";
  try {
    const {
      plan: made,
      overheadBytes,
      forecast,
      otherWay,
      flags: { lookAhead },
    } = outlookOf(model, flags, measured, flags.positions ?? null);
    return {
      memory,
      plan: made,
      limitBytes: made.totalBytes + overheadBytes,
      overheadBytes,
      forecast,
      ...(lookAhead === "auto" || !canLookAhead(model.bundle, flags.sparsity) ? {} : { lookAhead }),
      ...(otherWay ? { otherWayMs: otherWay.tokenMs } : {}),
    };
  } catch (error) {
    if (isTooSmall(error)) return { memory, tooSmall: error.message };
    throw error;
  }
}

const percent = (share: number): string => `${(100 * share).toFixed(0)}%`;

function slotShare({ slotCountByLayer, pinnedCountByLayer }: MemoryPlan): { slots: number; pinned: number } {
  const slots = slotCountByLayer.reduce((total, count) => total + count, 0);
  return {
    slots,
    pinned: pinnedCountByLayer.reduce((total, count) => total + count, 0) / Math.max(1, slots),
  };
}

function perLayer({ slotCountByLayer }: MemoryPlan): string {
  const least = Math.min(...slotCountByLayer);
  const most = Math.max(...slotCountByLayer);
  return least === most ? String(least) : `${least} to ${most}`;
}

function describeTable(rows: readonly Row[]): string[] {
  const head = [
    "memory",
    "total",
    "context",
    "slots",
    "window",
    "hits",
    "read/token",
    "ms/token",
    "wait",
    "cache",
    "compute",
    "tokens/s",
    "look-ahead",
  ];
  const cells = rows.map(({ memory, plan: made, limitBytes, forecast, lookAhead, tooSmall }) => {
    if (tooSmall !== undefined || !made || !forecast) return [memory, "too small"];
    return [
      memory,
      formatBytes(limitBytes ?? 0),
      String(made.contextLength),
      String(slotShare(made).slots),
      forecast.windowTokens === null ? "-" : String(forecast.windowTokens),
      percent(forecast.hitShare),
      formatBytes(forecast.readBytes),
      formatMs(forecast.tokenMs),
      formatMs(forecast.ioWaitMs),
      formatMs(forecast.cacheMs),
      formatMs(forecast.computeMs),
      (1000 / forecast.tokenMs).toFixed(1),
      lookAhead ?? "-",
    ];
  });
  return formatTable(head, cells);
}

function describeOne({
  plan: made,
  forecast,
  limitBytes,
  overheadBytes,
  lookAhead,
  otherWayMs,
}: Row): string[] {
  if (!made || !forecast) return [];
  const { slots, pinned } = slotShare(made);
  const window =
    forecast.windowTokens === null
      ? "every neuron is used by every token: the first ones keep their slots"
      : `window of ${forecast.windowTokens} tokens fits${made.windowTokens === null ? ", if neurons are equally likely" : ", by measured demand"}; ${percent(pinned)} of the slots are pinned`;
  return [
    "memory plan:",
    ...describePlan({ plan: made, overheadBytes: overheadBytes ?? 0, limitBytes: limitBytes ?? 0 }),
    `slots: ${slots} neurons, ${perLayer(made)} a layer; ${window}`,
    `forecast: ${formatMs(forecast.tokenMs)} ms/token (${(1000 / forecast.tokenMs).toFixed(1)} tokens/s) = I/O wait ${formatMs(forecast.ioWaitMs)} + cache ${formatMs(forecast.cacheMs)} + compute ${formatMs(forecast.computeMs)}`,
    `flash: ${formatBytes(forecast.readBytes)} per token, ${formatMs(forecast.ioMs)} ms of the device; hit rate ${percent(forecast.hitShare)}, ${percent(forecast.namedShare)} of neurons named`,
    ...(lookAhead === undefined
      ? []
      : [
          `look-ahead: ${lookAhead}; ${otherWayMs === undefined ? "no memory for its heads" : `${formatMs(otherWayMs)} ms/token ${lookAhead === "on" ? "without" : "with it"}`}`,
        ]),
  ];
}

import type { WeightDtype } from "@flashlm/contracts";
import { residentDtypeOf, type TokenForecast } from "@flashlm/runtime";
import type { Measured } from "../forecasting.js";
import type { EngineFlags } from "../options.js";
import { coarserOutlook } from "../resident-outlook.js";
import type { OpenModel } from "../session.js";
import { formatMs, formatTable } from "../table.js";

/** A token with one precision of the residents, under one memory limit. */
export interface ResidentForecast {
  readonly slotCount: number;
  /** Null for dense runs, which need no window. */
  readonly windowTokens: number | null;
  readonly tokenMs: number;
}

/** What the residents of a bundle are stored in, and what coarser ones would give. By memory limit; null where it is too small. */
export interface ResidentComparison {
  readonly dtype: WeightDtype;
  readonly forecasts: readonly (ResidentForecast | null)[];
  /** Null where nothing coarser is proposed. */
  readonly coarser: {
    readonly dtype: WeightDtype;
    readonly forecasts: readonly (ResidentForecast | null)[];
    /** Makes such a bundle. */
    readonly command: string;
    readonly assumptions: readonly string[];
  } | null;
  /** Forecast fastest; null where the limit is too small for any. */
  readonly fastest: readonly (WeightDtype | null)[];
}

/** A plan's slots and the forecast under it. */
interface Made {
  readonly plan: { readonly slotCountByLayer: readonly number[] };
  readonly forecast: TokenForecast;
}

function resident(made: Made | null): ResidentForecast | null {
  if (made === null) return null;
  const { windowTokens, tokenMs } = made.forecast;
  const slotCount = made.plan.slotCountByLayer.reduce((total, count) => total + count, 0);
  return { slotCount, windowTokens, tokenMs };
}

/** Compares the residents as they are, whose plans are made, with coarser ones under the same memory limits. */
export function compareResidents(
  model: OpenModel,
  flags: EngineFlags,
  measured: Measured,
  memories: readonly string[],
  positionCount: number | null,
  own: readonly (Made | null)[],
): ResidentComparison {
  const { manifest } = model.bundle;
  const dtype = residentDtypeOf(model.bundle);
  const forecasts = own.map(resident);
  const outlook = coarserOutlook(model, flags, measured, memories, positionCount);
  if (outlook === null)
    return { dtype, forecasts, coarser: null, fastest: forecasts.map((each) => each && dtype) };
  const { residentDtype, outlooks, assumptions } = outlook;
  const coarser = {
    dtype: residentDtype,
    forecasts: outlooks.map(resident),
    command: `flashlm bundle CHECKPOINT --out FOLDER --dtype ${manifest.dtype} --resident-dtype ${residentDtype}`,
    assumptions,
  };
  const fastest = forecasts.map((each, at) => {
    const other = coarser.forecasts[at] ?? null;
    if (each === null) return other && residentDtype;
    return other !== null && other.tokenMs < each.tokenMs ? residentDtype : dtype;
  });
  return { dtype, forecasts, coarser, fastest };
}

/** The comparison as lines for people: one for one limit, a table for several. */
export function describeResidents(comparison: ResidentComparison, memories: readonly string[]): string[] {
  const { coarser, dtype } = comparison;
  if (coarser === null) return [`residents: ${dtype} (as in the bundle)`];
  return memories.length === 1
    ? [describeOne(comparison, coarser)]
    : describeTable(comparison, coarser, memories);
}

type Coarser = NonNullable<ResidentComparison["coarser"]>;

function describeOne({ dtype, fastest }: ResidentComparison, { command, ...coarser }: Coarser): string {
  const own = `residents: ${dtype} (as in the bundle${fastest[0] === dtype ? ", forecast fastest" : ""})`;
  const other = coarser.forecasts[0];
  if (!other) return `${own}; the limit is too small for ${coarser.dtype}`;
  const { slotCount, tokenMs, windowTokens } = other;
  const window = windowTokens === null ? "" : `, a window of ${windowTokens} tokens`;
  return `${own}; ${coarser.dtype} would give ${formatMs(tokenMs)} ms/token, ${slotCount} slots${window}: ${command}`;
}

function describeTable(
  { dtype, fastest, forecasts }: ResidentComparison,
  { command, ...coarser }: Coarser,
  memories: readonly string[],
): string[] {
  const cells = (
    list: readonly (ResidentForecast | null)[],
    cell: (forecast: ResidentForecast, at: number) => string,
  ): string[] => list.map((forecast, at) => (forecast ? cell(forecast, at) : "too small"));
  const rows = [
    { dtype, name: `${dtype} (as in the bundle)`, forecasts },
    { dtype: coarser.dtype, name: coarser.dtype, forecasts: coarser.forecasts },
  ].flatMap(({ name, forecasts: list, dtype: of }) => [
    [
      name,
      "ms/token",
      ...cells(list, ({ tokenMs }, at) => `${fastest[at] === of ? "*" : ""}${formatMs(tokenMs)}`),
    ],
    ["", "slots", ...cells(list, ({ slotCount }) => String(slotCount))],
    ...(list.some((each) => each !== null && each.windowTokens !== null)
      ? [["", "window", ...cells(list, ({ windowTokens }) => String(windowTokens ?? "-"))]]
      : []),
  ]);
  return [
    "residents (--resident-dtype) by memory limit:",
    ...formatTable(["residents", "", ...memories], rows),
    `* forecast fastest   ${coarser.dtype}: ${command}; flashlm perplexity says what it costs`,
  ];
}

import { type PredictorChoice, parseSparsity, predictorChoices, sharesKnown } from "@flashlm/predictor";
import type { TokenForecast } from "@flashlm/runtime";
import { forecastLimit, type Measured, measuredWith } from "../forecasting.js";
import { formatBytes } from "../memory-option.js";
import type { EngineFlags } from "../options.js";
import type { OpenModel } from "../session.js";
import { formatTable } from "../table.js";

/** What a predictor is expected to give, by memory limit. */
export interface PredictorOutlook {
  readonly sparsity: string;
  readonly lossless: boolean;
  /** Whether its share of the neurons was measured or trained for; a forecast without is of every neuron, and says nothing. */
  readonly known: boolean;
  /** Its tensors of all layers: memory that records cannot have, or reads for each token. */
  readonly tensorBytes: number;
  /** By limit; null where the limit is too small. */
  readonly forecasts: readonly (TokenForecast | null)[];
}

/** The fastest predictors at one memory limit. */
export interface Recommendation {
  readonly memory: string;
  /** Answers as the model; null where the limit is too small for any. */
  readonly lossless: string | null;
  /** Faster than that, with other answers; null where none is. */
  readonly lossy: string | null;
}

/** Forecasts each predictor that the bundle can serve, and the one asked for, at each memory limit. */
export function comparePredictors(
  model: OpenModel,
  flags: EngineFlags,
  measured: Measured,
  memories: readonly string[],
  positionCount: number | null,
): PredictorOutlook[] {
  const { manifest } = model.bundle;
  const choices = [...predictorChoices(manifest)];
  if (!choices.some(({ sparsity }) => sparsity === flags.sparsity))
    choices.push({ sparsity: flags.sparsity, part: parseSparsity(flags.sparsity) });
  return choices.map((choice) => {
    // Others than the one asked for are compared at their best, also those that cannot guess.
    const lookAhead = choice.sparsity === flags.sparsity ? flags.lookAhead : "auto";
    const own: EngineFlags = { ...flags, sparsity: choice.sparsity, lookAhead };
    const measuredToo = measuredWith(model, measured, choice.sparsity);
    return {
      sparsity: choice.sparsity,
      lossless: choice.part.lossless,
      known: measuredToo.demand !== null || sharesKnown(manifest, choice.part),
      tensorBytes: tensorBytes(model, choice),
      forecasts: memories.map((memory) =>
        forecastLimit(model, { ...own, memory }, measuredToo, positionCount),
      ),
    };
  });
}

function tensorBytes({ bundle }: OpenModel, { part }: PredictorChoice): number {
  const own = new Set(
    bundle.manifest.layers.flatMap((_, layer) =>
      part.tensorNames(bundle.manifest, layer).map((name) => `layers.${layer}.${name}`),
    ),
  );
  return bundle.manifest.tensors.reduce(
    (total, { name, lengthBytes }) => total + (own.has(name) ? lengthBytes : 0),
    0,
  );
}

/** The fastest lossless predictor at each limit, and the fastest lossy one where it is faster still. Only known shares count. */
export function recommend(
  outlooks: readonly PredictorOutlook[],
  memories: readonly string[],
): Recommendation[] {
  return memories.map((memory, at) => {
    const fastest = (lossless: boolean, belowMs: number): { sparsity: string; tokenMs: number } | null => {
      let best: { sparsity: string; tokenMs: number } | null = null;
      for (const { sparsity, known, forecasts, lossless: exact } of outlooks) {
        const tokenMs = forecasts[at]?.tokenMs ?? Number.POSITIVE_INFINITY;
        if (known && exact === lossless && tokenMs < (best?.tokenMs ?? belowMs)) best = { sparsity, tokenMs };
      }
      return best;
    };
    const lossless = fastest(true, Number.POSITIVE_INFINITY);
    const lossy = fastest(false, lossless?.tokenMs ?? Number.POSITIVE_INFINITY);
    return { memory, lossless: lossless?.sparsity ?? null, lossy: lossy?.sparsity ?? null };
  });
}

/** The comparison as lines for people. */
export function describePredictors(
  outlooks: readonly PredictorOutlook[],
  memories: readonly string[],
): string[] {
  const recommended = recommend(outlooks, memories);
  const rows = outlooks.map(({ sparsity, lossless, known, tensorBytes: bytes, forecasts }) => [
    sparsity,
    lossless ? "lossless" : "lossy",
    formatBytes(bytes),
    ...forecasts.map((forecast, at) => {
      if (!forecast) return "too small";
      if (!known) return "?";
      const { lossless: best, lossy: faster } = recommended[at]!;
      const mark = sparsity === best ? "*" : sparsity === faster ? "+" : "";
      return `${mark}${forecast.tokenMs.toFixed(forecast.tokenMs < 100 ? 1 : 0)}`;
    }),
  ]);
  const unknown = outlooks.filter(({ known }) => !known).map(({ sparsity }) => sparsity);
  return [
    "predictors (--sparsity), ms/token by memory limit:",
    ...formatTable(["predictor", "answers", "tensors", ...memories], rows),
    "* fastest with the model's own answers   + lossy and faster still; flashlm eval says what it costs",
    ...(unknown.length > 0
      ? [`? not known how many neurons it names: flashlm eval --sparsity ${unknown[0]} measures it`]
      : []),
  ];
}

import type { ActivityTargets } from "@flashlm/bundler";
import type { LayerStatistics, SyntheticStatistics } from "./measure.js";
import {
  HEAD_RANK,
  MISSED_SHARE,
  type PredictedStatistics,
  SMALL_HEAD_RANK,
} from "./predicted-statistics.js";

/** A figure of a synthetic model: what it was made for, and what was measured. */
export interface SyntheticFigure {
  readonly name: string;
  /** Null where the paper gives none. */
  readonly target: string | null;
  readonly measured: number;
}

const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;

function meanOfHeads(
  layers: readonly LayerStatistics[],
  pick: (heads: PredictedStatistics) => number,
): number {
  return mean(layers.flatMap(({ heads }) => (heads === null ? [] : [pick(heads)])));
}

/** Means over layers, in the order of a report. */
export function figuresOf(statistics: SyntheticStatistics, targets: ActivityTargets): SyntheticFigure[] {
  const { layers } = statistics;
  const shareOrNull = (share: number | null): string | null => (share === null ? null : percent(share));
  const active = (name: string, own: readonly LayerStatistics[]): SyntheticFigure => ({
    name,
    target: percent(mean(own.map((layer) => layer.targetActiveShare))),
    measured: mean(own.map((layer) => layer.activeShare)),
  });
  return [
    active("active, mean of the layers", layers),
    active("active, first layer", layers.slice(0, 1)),
    active("active, last layer", layers.slice(-1)),
    {
      name: `predicted by a head of rank ${HEAD_RANK} that misses ${percent(MISSED_SHARE)}`,
      target: shareOrNull(targets.predictedShare),
      measured: meanOfHeads(layers, (heads) => heads.predicted.share),
    },
    {
      name: `predicted, union over ${targets.windowTokens} tokens`,
      target: shareOrNull(targets.unionShare),
      measured: meanOfHeads(layers, (heads) => heads.predicted.unionShare),
    },
    {
      name: "predicted, fresh per token",
      target: shareOrNull(targets.freshShare),
      measured: meanOfHeads(layers, (heads) => heads.predicted.freshShare),
    },
    {
      name: "predicted but not active, of those not active",
      target: null,
      measured: meanOfHeads(layers, (heads) => heads.falsePositiveShare),
    },
    {
      name: `missed by a head of rank ${SMALL_HEAD_RANK} that predicts as many`,
      target: "at least 15.0 %",
      measured: meanOfHeads(layers, (heads) => heads.missedBySmallHead),
    },
  ];
}

/** The figures as lines: target beside measured. */
export function describeStatistics(statistics: SyntheticStatistics, targets: ActivityTargets): string[] {
  const figures = figuresOf(statistics, targets);
  const width = Math.max(...figures.map((figure) => figure.name.length));
  const exponent = mean(statistics.layers.map((layer) => layer.popularity.exponent));
  const fit = mean(statistics.layers.map((layer) => layer.popularity.determination));
  return [
    `${"".padEnd(width)}  ${"target".padStart(15)}  measured`,
    ...figures.map(
      ({ name, target, measured }) =>
        `${name.padEnd(width)}  ${(target ?? "-").padStart(15)}  ${percent(measured)}`,
    ),
    `${"popularity falls with rank to the power of minus".padEnd(width)}  ${targets.popularityExponent.toFixed(2).padStart(15)}  ${exponent.toFixed(2)} (R2 ${fit.toFixed(3)})`,
    `measured on a dense run: heads fitted to ${statistics.trainTokens} tokens, figures from ${statistics.heldTokens} later ones; targets are ${targets.source}`,
  ];
}

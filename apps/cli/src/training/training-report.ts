import type { BundleHead, BundleHeads, HeadName, HeadPoint } from "@flashlm/contracts";
import type { HeadFigures } from "./train-heads.js";

/** What a kind of head reaches, by layer and on average, at one target of missed contribution. */
export interface HeadReport {
  readonly missedTarget: number;
  readonly mean: Omit<HeadPoint, "missedTarget" | "threshold"> & {
    readonly recall: number;
    readonly activeShare: number;
  };
  readonly layers: readonly (HeadPoint & {
    /** Layer whose neurons are named. */
    readonly layerIndex: number;
    readonly rank: number;
    readonly activeShare: number;
    readonly recall: number;
  })[];
}

/** The manifest's entry for trained heads. */
export function manifestHeads(
  figures: readonly HeadFigures[],
  text: string,
  tokenCount: number,
  heldOutTokenCount: number,
): BundleHeads {
  const of = (name: HeadName): BundleHead[] =>
    figures
      .filter(({ head }) => head === name)
      .map(({ layerIndex, rank, points }) => ({ layerIndex, rank, points }));
  return { text, tokenCount, heldOutTokenCount, lowrank: of("lowrank"), lookahead: of("lookahead") };
}

/** Figures on the held-out tokens. `missedTarget` is one that thresholds were chosen for. */
export function reportHeads(
  figures: readonly HeadFigures[],
  name: HeadName,
  missedTarget: number,
): HeadReport {
  const layers = figures
    .filter(({ head }) => head === name)
    .map(({ layerIndex, rank, points, activeShare }) => {
      const point = points.find((candidate) => candidate.missedTarget === missedTarget)!;
      const named = name === "lookahead" ? layerIndex + 1 : layerIndex;
      return { ...point, layerIndex: named, rank, activeShare, recall: 1 - point.falseNegativeShare };
    });
  const mean = (value: (layer: (typeof layers)[number]) => number): number =>
    layers.reduce((sum, layer) => sum + value(layer), 0) / Math.max(1, layers.length);
  return {
    missedTarget,
    layers,
    mean: {
      activeShare: mean((layer) => layer.activeShare),
      recall: mean((layer) => layer.recall),
      predictedShare: mean((layer) => layer.predictedShare),
      falseNegativeShare: mean((layer) => layer.falseNegativeShare),
      falsePositiveShare: mean((layer) => layer.falsePositiveShare),
      missedShare: mean((layer) => layer.missedShare),
    },
  };
}

/** The report as lines for people; shares in percent. */
export function describeHeads(name: HeadName, report: HeadReport): string[] {
  const percent = (value: number): string => (100 * value).toFixed(1).padStart(6);
  const row = (label: string, values: HeadReport["mean"]): string =>
    [
      label.padStart(6),
      percent(values.activeShare),
      percent(values.predictedShare),
      percent(values.falseNegativeShare),
      percent(values.falsePositiveShare),
      percent(values.recall),
      percent(values.missedShare),
    ].join("  ");
  return [
    `${name} heads on held-out tokens, thresholds for ${100 * report.missedTarget} % missed contribution, percent:`,
    " layer  active  predic  falneg  falpos  recall  missed",
    ...report.layers.map((layer) => row(String(layer.layerIndex), layer)),
    row("mean", report.mean),
  ];
}

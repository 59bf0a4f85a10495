import { formatBytes } from "../memory-option.js";
import { formatTable } from "../table.js";
import type { BudgetSpeed, Evaluation } from "./eval.js";

const percent = (share: number | null, digits = 1): string =>
  share === null ? "-" : `${(100 * share).toFixed(digits)}%`;

/** An evaluation as lines for people. */
export function describeEvaluation(evaluation: Evaluation, notes: readonly string[]): string[] {
  const { dense, sparse, layers, windowOverlap, speeds, sparsity } = evaluation;
  const overlap = Object.entries(windowOverlap).map(
    ([window, share]) => `${percent(share, 0)} within ${window}`,
  );
  return [
    `perplexity  dense ${dense.perplexity.toFixed(3)}, ${sparsity} ${sparse.perplexity.toFixed(3)} (mean loss ${signed(evaluation.nllChange)}) over ${evaluation.scoredTokens} tokens`,
    `window      of a token's predicted neurons, the tokens before it predicted ${overlap.join(", ")}`,
    "",
    ...formatTable(
      ["layer", "active", "predicted", "false neg.", "false pos.", "missed activation"],
      layers.map((layer) => [
        String(layer.layerIndex),
        percent(layer.activeShare),
        percent(layer.predictedShare),
        percent(layer.falseNegatives, 2),
        percent(layer.falsePositives, 2),
        percent(layer.missedActivation, 2),
      ]),
    ),
    "",
    ...(speeds.length === 0 ? [] : [...speedTable(speeds), ""]),
    verdict(evaluation),
    ...notes,
  ];
}

function speedTable(speeds: readonly BudgetSpeed[]): string[] {
  return formatTable(
    ["memory", "dense ms", "sparse ms", "times", "sparse read", "hits", "window"],
    speeds.map(speedRow),
  );
}

function signed(change: number): string {
  return `${change >= 0 ? "+" : ""}${(100 * change).toFixed(2)}%`;
}

function speedRow({ memory, dense, sparse }: BudgetSpeed): string[] {
  return [
    memory,
    dense ? dense.tokenMs.toFixed(1) : "too small",
    sparse ? sparse.tokenMs.toFixed(1) : "too small",
    dense && sparse ? (dense.tokenMs / sparse.tokenMs).toFixed(2) : "-",
    sparse ? formatBytes(sparse.readBytes) : "-",
    sparse ? percent(sparse.hitShare, 0) : "-",
    sparse ? String(sparse.windowTokens ?? "-") : "-",
  ];
}

/** One sentence: what sparsity gives at the limit where it gives most, and what it costs. */
export function verdict({ speeds, nllChange, sparsity }: Evaluation): string {
  const gains = speeds.flatMap(({ memory, dense, sparse }) =>
    dense && sparse ? [{ memory, times: dense.tokenMs / sparse.tokenMs }] : [],
  );
  const best = gains.sort((a, b) => b.times - a.times)[0];
  if (speeds.length === 0) return `verdict: a mean loss of ${signed(nllChange)}, speed unknown`;
  if (!best) return "verdict: no limit of the table is large enough to run";
  const cost = `a mean loss of ${signed(nllChange)}`;
  if (best.times < 1.05)
    return `verdict: ${sparsity} is not worth it here: no limit becomes faster, for ${cost}`;
  return `verdict: ${sparsity} is expected to be ${best.times.toFixed(2)} times as fast at ${best.memory}, for ${cost}`;
}

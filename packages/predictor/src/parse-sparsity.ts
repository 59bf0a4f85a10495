import type { PredictorPart } from "@flashlm/contracts";
import { FlashlmError } from "@flashlm/contracts";
import { densePredictor } from "./dense.js";
import { gateShadowPredictor } from "./gate-shadow.js";
import { gateThresholdPredictor } from "./gate-threshold.js";
import { lowRankPredictor } from "./low-rank.js";
import { oraclePredictor } from "./oracle.js";
import { shadowPredictor } from "./shadow.js";

/** What `--sparsity` accepts. */
export const SPARSITY_CHOICES: readonly string[] = [
  "dense",
  "oracle",
  "shadow:KEPT",
  "gate:KEPT",
  "gate-shadow:MARGIN",
  "lowrank[:MISSED]",
  "lookahead[:MISSED]",
];

/** What goes beside the text of `--sparsity`. */
export interface SparsityOptions {
  /** Offer look-ahead with "lowrank" or "lookahead"; needs look-ahead heads. Ignored by the others, which have none. Default false. */
  readonly lookAhead?: boolean;
}

type Maker = (value: number, options: SparsityOptions) => PredictorPart;

const MAKERS: Readonly<Record<string, Maker>> = {
  shadow: shadowPredictor,
  gate: (keptShare) => gateThresholdPredictor({ keptShare }),
  "gate-shadow": gateShadowPredictor,
  lowrank: (missedShare, options) => lowRankPredictor({ ...options, missedShare }),
  lookahead: (missedShare, options) => lowRankPredictor({ ...options, missedShare, head: "lookahead" }),
};

/** Without a number. */
const PLAIN: Readonly<Record<string, (options: SparsityOptions) => PredictorPart>> = {
  dense: () => densePredictor,
  oracle: () => oraclePredictor,
  lowrank: (options) => lowRankPredictor(options),
  lookahead: (options) => lowRankPredictor({ ...options, head: "lookahead" }),
};

/**
 * Reads one of {@link SPARSITY_CHOICES}: KEPT is a share of the neurons such as 0.6, MARGIN a number of standard deviations such as
 * 0.1, MISSED a share of the contribution such as 0.02.
 * @throws PREDICTOR_OPTION for anything else, naming the choices, and for numbers out of range.
 */
export function parseSparsity(text: string, options: SparsityOptions = {}): PredictorPart {
  if (Object.hasOwn(PLAIN, text)) return PLAIN[text]!(options);
  const match = /^([a-z-]{1,20}):(\d{1,9}(?:\.\d{1,17})?|\.\d{1,17})$/.exec(text);
  if (match !== null && Object.hasOwn(MAKERS, match[1]!))
    return MAKERS[match[1]!]!(Number(match[2]), options);
  const shown = text.length > 40 ? `${text.slice(0, 40)}...` : text;
  throw new FlashlmError(
    "PREDICTOR_OPTION",
    `unknown sparsity "${shown}": expected one of ${SPARSITY_CHOICES.join(", ")}, such as shadow:0.6, gate-shadow:0.1 or lowrank:0.02`,
    { sparsity: shown, choices: SPARSITY_CHOICES },
  );
}

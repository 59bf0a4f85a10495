import type { PredictorPart } from "@flashlm/contracts";
import { FlashlmError } from "@flashlm/contracts";
import { densePredictor } from "./dense.js";
import { gateThresholdPredictor } from "./gate-threshold.js";
import { oraclePredictor } from "./oracle.js";
import { shadowPredictor } from "./shadow.js";

const CHOICES = ["dense", "oracle", "shadow:KEPT", "gate:KEPT"] as const;

/**
 * Reads `dense`, `oracle`, `shadow:KEPT` or `gate:KEPT`, where KEPT is a share such as 0.6.
 * @throws PREDICTOR_OPTION for anything else, naming the choices, and for shares outside (0, 1].
 */
export function parseSparsity(text: string): PredictorPart {
  if (text === "dense") return densePredictor;
  if (text === "oracle") return oraclePredictor;
  const match = /^(shadow|gate):(\d{1,9}(?:\.\d{1,17})?|\.\d{1,17})$/.exec(text);
  if (match !== null) {
    const keptShare = Number(match[2]);
    return match[1] === "shadow" ? shadowPredictor(keptShare) : gateThresholdPredictor({ keptShare });
  }
  const shown = text.length > 40 ? `${text.slice(0, 40)}...` : text;
  throw new FlashlmError(
    "PREDICTOR_OPTION",
    `unknown sparsity "${shown}": expected one of ${CHOICES.join(", ")} with KEPT above 0 and at most 1, such as shadow:0.6`,
    { sparsity: shown, choices: CHOICES },
  );
}

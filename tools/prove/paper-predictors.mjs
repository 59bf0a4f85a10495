import { cpSync, existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fixture, flashlmCommand, flashlmJson, hasShared, MODELS, PROOF_ENV } from "../lib/flashlm.mjs";
import { run } from "../lib/shell.mjs";

const CALIBRATION = "text/python-reference-calibration.txt";
const EVALUATION = "text/python-reference-evaluation.txt";
/** Figures that the predictors of the real ReLU network must reach: share predicted at most, rise of the mean NLL at most. */
const BOUNDS = {
  "lowrank:0.01": { predictedMax: 0.4, riseMax: 0.015 },
  "lookahead:0.01": { predictedMax: 0.4, riseMax: 0.015 },
  "gate-shadow:0.1": { predictedMax: 0.22, riseMax: 0.001 },
};
const RANK = 128;

const percent = (value, digits = 2) => `${(100 * value).toFixed(digits)} %`;

/** Mean NLL and predicted share of the evaluation text; FLASHLM_PROVE_TOKENS shortens it while developing. */
function evaluate(bundle, sparsity) {
  const limit = process.env.FLASHLM_PROVE_TOKENS;
  const text = ["--text", fixture(EVALUATION), "--window", "512", ...(limit ? ["--limit", limit] : [])];
  return flashlmJson(["perplexity", bundle, ...text, "--sparsity", sparsity]);
}

/** Held-out figures of a kind of head in one line. */
function heldOut(name, { mean, missedTarget }) {
  return `${name} held out at ${percent(missedTarget, 1)} missed: active ${percent(mean.activeShare, 1)}, predicted ${percent(mean.predictedShare, 1)}, false negatives ${percent(mean.falseNegativeShare, 1)}, false positives ${percent(mean.falsePositiveShare, 1)}, recall ${percent(mean.recall, 1)}`;
}

async function makeBundle(outPath) {
  const [program, args] = flashlmCommand(["bundle", MODELS.student, "--out", outPath]);
  const { code, output } = await run(program, args, { env: PROOF_ENV });
  if (code !== 0) throw new Error(`bundling ended with ${code}:\n${output.slice(-2000)}`);
}

async function studentHeads() {
  if (!hasShared || !existsSync(MODELS.student))
    return { ok: false, lines: ["the ReLU student is not beside the project (../shared/models)"] };
  const folder = mkdtempSync(join(tmpdir(), "flashlm-predictors-"));
  const bundle = join(folder, "student");
  try {
    // FLASHLM_PROVE_BUNDLE names a bundle whose heads are trained already; it is copied.
    const ready = process.env.FLASHLM_PROVE_BUNDLE;
    const lines = [];
    if (ready) cpSync(ready, bundle, { recursive: true });
    else {
      await makeBundle(bundle);
      const text = ["--text", fixture(CALIBRATION), "--limit", "16384"];
      const trained = await flashlmJson([
        "train-predictor",
        bundle,
        ...text,
        "--rank",
        String(RANK),
        "--missed",
        "0.01",
      ]);
      for (const name of ["lowrank", "lookahead"]) lines.push(heldOut(name, trained[name]));
    }
    const dense = await evaluate(bundle, "dense");
    lines.push(`dense: mean NLL ${dense.meanNll.toFixed(4)} over ${dense.scoredTokens} tokens`);
    let ok = true;
    for (const [sparsity, { predictedMax, riseMax }] of Object.entries(BOUNDS)) {
      const { meanNll, keptShare } = await evaluate(bundle, sparsity);
      const rise = meanNll / dense.meanNll - 1;
      if (!(keptShare <= predictedMax && rise <= riseMax)) ok = false;
      lines.push(
        `${sparsity}: mean NLL ${rise >= 0 ? "+" : ""}${percent(rise, 3)} (at most ${percent(riseMax, 1)}), predicted ${percent(keptShare, 1)} (at most ${percent(predictedMax, 0)})`,
      );
    }
    return { ok, lines };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Each part returns `{ ok, lines }`; the synthetic OPT's heads (false negatives at most 5 %, false positives at most 7 %) are a part of their own. */
const PARTS = [studentHeads];

async function predictorsHold() {
  let ok = true;
  const lines = [];
  for (const part of PARTS) {
    const result = await part();
    ok &&= result.ok;
    lines.push(...result.lines);
  }
  return { ok, figure: lines.join("\n    ") };
}

/** The paper's predictors on a real ReLU network. */
export const points = [
  {
    name: "paper.2",
    title:
      "trained heads, look-ahead heads and the gate shadow cost little perplexity on a real ReLU network",
    heavy: true,
    run: predictorsHold,
  },
];

import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fixture, flashlmJson, flashlmOutput, hasShared, MODELS } from "../lib/flashlm.mjs";

const CALIBRATION = "text/python-reference-calibration.txt";
const EVALUATION = "text/python-reference-evaluation.txt";
/** Figures that the predictors of the real ReLU network must reach: share predicted at most, rise of the mean NLL at most. */
const BOUNDS = {
  "lowrank:0.01": { predictedMax: 0.4, riseMax: 0.015 },
  "lookahead:0.01": { predictedMax: 0.4, riseMax: 0.015 },
  "gate-shadow:0.1": { predictedMax: 0.22, riseMax: 0.001 },
};
const RANK = 128;
/** What a head trained on a synthetic OPT must reach on tokens that it has not seen: the paper's shares, and the rise of the mean NLL. */
const SYNTHETIC = {
  preset: "opt-125m",
  sparsity: "lowrank:0.015",
  trainTokens: 16384,
  heldTokens: 4096,
  falseNegativesMax: 0.05,
  falsePositivesMax: 0.07,
  changeMax: 0.01,
};

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
      await flashlmOutput(["bundle", MODELS.student, "--out", bundle]);
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

const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

/** Heads are trained on the first half of a synthetic OPT's tokens; shares and NLL are of the second half, which chose nothing either. */
async function syntheticHeads() {
  const { preset, sparsity, trainTokens, heldTokens, ...bounds } = SYNTHETIC;
  const folder = mkdtempSync(join(tmpdir(), "flashlm-synthetic-heads-"));
  const [checkpoint, bundle] = [join(folder, "checkpoint"), join(folder, "bundle")];
  const [training, held] = [join(folder, "training.json"), join(folder, "held.json")];
  try {
    await flashlmOutput(["synth", "--preset", preset, "--seed", "1", "--no-measure", "--out", checkpoint]);
    await flashlmOutput(["bundle", checkpoint, "--out", bundle]);
    const { tokens } = JSON.parse(readFileSync(join(checkpoint, "tokens.json"), "utf8"));
    writeFileSync(training, JSON.stringify(tokens.slice(0, tokens.length / 2)));
    writeFileSync(held, JSON.stringify(tokens.slice(tokens.length / 2)));
    const train = ["--tokens", training, "--limit", String(trainTokens), "--rank", String(RANK)];
    await flashlmOutput(["train-predictor", bundle, ...train]);
    const text = ["--tokens", held, "--limit", String(heldTokens)];
    const { layers, nllChange, dense } = await flashlmJson(["eval", bundle, ...text, "--sparsity", sparsity]);
    const of = (key) => mean(layers.map((layer) => layer[key]));
    const [missed, needless] = [of("falseNegatives"), of("falsePositives")];
    return {
      ok:
        missed <= bounds.falseNegativesMax &&
        needless <= bounds.falsePositivesMax &&
        Math.abs(nllChange) <= bounds.changeMax,
      lines: [
        `${preset} (synthetic), ${sparsity}, unseen tokens: active ${percent(of("activeShare"), 1)}, predicted ${percent(of("predictedShare"), 1)}, false negatives ${percent(missed)} (at most ${percent(bounds.falseNegativesMax, 0)}), false positives ${percent(needless)} (at most ${percent(bounds.falsePositivesMax, 0)}), mean NLL ${dense.meanNll.toFixed(3)} changed by ${percent(nllChange, 3)} (at most ${percent(bounds.changeMax, 0)})`,
      ],
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Each part returns `{ ok, lines }`. */
const PARTS = [syntheticHeads, studentHeads];

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

/** The paper's predictors, on a synthetic OPT and on a real ReLU network. */
export const points = [
  {
    name: "paper.2",
    title:
      "trained heads reach the paper's shares on a synthetic OPT; on a real ReLU network they, look-ahead heads and the gate shadow cost little perplexity",
    heavy: true,
    run: predictorsHold,
  },
];

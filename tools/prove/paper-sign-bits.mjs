import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fixture, flashlmCommand, hasShared, MODELS, PROOF_ENV } from "../lib/flashlm.mjs";
import { run } from "../lib/shell.mjs";
import { signAgreement } from "../lib/sign-agreement.mjs";

const TOKENS = 512;
/** Sign bits would be worth building if, at this missed share of the contribution, they named fewer neurons than this. */
const MISSED_SHARE = 0.01;
const NAMED_MAX = 0.4;

const percent = (share) => `${(100 * share).toFixed(1)} %`;
const sum = (values) => values.reduce((total, value) => total + value, 0);
const mean = (values) => sum(values) / values.length;

/** Named and missed shares of a layer when neurons with more than `threshold` agreeing signs are named. */
function sharesAbove({ active, inactive, contribution }, threshold) {
  const above = (values) => sum(values.slice(threshold + 1));
  const all = sum(active) + sum(inactive);
  return {
    named: (above(active) + above(inactive)) / all,
    missedActive: 1 - above(active) / sum(active),
    missed: 1 - above(contribution) / sum(contribution),
  };
}

/** The highest threshold that misses at most the share. */
function thresholdFor({ contribution }, missedShare) {
  const allowed = missedShare * sum(contribution);
  let threshold = -1;
  for (let missed = contribution[0]; missed <= allowed; missed += contribution[threshold + 1]) threshold++;
  return threshold;
}

async function signBits() {
  if (!hasShared || !existsSync(MODELS.student))
    return { ok: false, figure: "the ReLU student is not beside the project (../shared/models)" };
  const folder = mkdtempSync(join(tmpdir(), "flashlm-signs-"));
  try {
    const bundle = join(folder, "student");
    const [program, args] = flashlmCommand(["bundle", MODELS.student, "--out", bundle]);
    const { code, output } = await run(program, args, { env: PROOF_ENV });
    if (code !== 0) throw new Error(`bundling ended with ${code}:\n${output.slice(-2000)}`);
    const text = readFileSync(fixture("text/python-reference-calibration.txt"), "utf8");
    const layers = await signAgreement(bundle, text, TOKENS);
    const majority = layers.map((layer) => sharesAbove(layer, (layer.active.length - 1) / 2));
    const chosen = layers.map((layer) => sharesAbove(layer, thresholdFor(layer, MISSED_SHARE)));
    const of = (list, key) => percent(mean(list.map((shares) => shares[key])));
    const figure = `majority of the signs: named ${of(majority, "named")}, missed ${of(majority, "missedActive")} of the active and ${of(majority, "missed")} of the contribution; thresholds by layer for ${percent(MISSED_SHARE)} missed: named ${of(chosen, "named")} (worth building below ${percent(NAMED_MAX)})`;
    return { ok: mean(chosen.map(({ named }) => named)) > NAMED_MAX, figure };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Why there is no sign-bit predictor: docs/decisions/0011-sign-bits.md. */
export const points = [
  {
    name: "paper.signs",
    title: "sign bits alone name too many neurons to be a predictor of the real ReLU network",
    heavy: true,
    run: signBits,
  },
];

import { mkdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { flashlmJson } from "../lib/flashlm.mjs";
import { enoughBytes, leastBytes, shareOf } from "../lib/least-budget.mjs";
import { CONTEXT, limitedRun, prepareModel, runArgs } from "../lib/synthetic-model.mjs";

/** FLASHLM_PROVE_PRESET takes a smaller shape while developing. */
const PRESET = process.env.FLASHLM_PROVE_PRESET ?? "opt-1.3b";
const SHARES = ["35%", "50%", "75%"];
const SPARSITIES = ["dense", "lowrank:0.02"];
const TOKENS = 24;
const MIB = 2 ** 20;
/** Small models of other families, in which heads count for more beside the layers. */
const FAMILIES = ["tiny", "tiny-llama", "tiny-falcon", "tiny-phi"];

/** Drawn, not greedy: a made-up model's best tokens run into loops, and a draw shows any logit that differs. */
const flagsOf = (sparsity) => [
  ...["--sparsity", sparsity, "--max-tokens", String(TOKENS)],
  ...["--temperature", "1", "--seed", "7"],
];

const leastOf = (model, flags) => leastBytes((memory) => runArgs(model, memory, flags));

/** The least budget may not be above what holds one layer, its keys and values and the overhead; and it runs. */
async function leastIsEnough(name, model, sparsity, least) {
  const flags = [...flagsOf(sparsity), "--max-tokens", "4"];
  const { report, tokens } = await flashlmJson(runArgs(model, shareOf(least, model.weightBytes), flags));
  const enough = enoughBytes(model.bundle, sparsity, CONTEXT, report.memory);
  const ok = least <= enough && tokens.length === 4;
  const figure = `${name} ${sparsity}: the least is ${(least / MIB).toFixed(2)} MiB, one layer with its keys, values and overhead ${(enough / MIB).toFixed(2)} MiB${ok ? "" : " (REFUSED ALTHOUGH IT HOLDS THEM)"}`;
  return { ok, figure };
}

async function familiesAreTaken(folder) {
  const results = [];
  for (const preset of FAMILIES) {
    const model = await prepareModel(folder, preset, 512, { lowrank: false });
    for (const sparsity of ["dense", "oracle"])
      results.push(await leastIsEnough(preset, model, sparsity, await leastOf(model, flagsOf(sparsity))));
  }
  return results;
}

/** One run per budget, each in a cgroup of what it plans; their choices beside those of the run with all of the memory. */
async function budgetsOf(model, sparsity) {
  const flags = flagsOf(sparsity);
  const whole = await flashlmJson(runArgs(model, "max", flags));
  const least = await leastOf(model, flags);
  const atLeast = shareOf(least, model.weightBytes);
  const taken = await leastIsEnough(PRESET, model, sparsity, least);
  const figures = [taken.figure];
  let ok = taken.ok;
  for (const memory of [atLeast, ...SHARES]) {
    const { plannedBytes } = (await flashlmJson(runArgs(model, memory, [...flags, "--max-tokens", "1"])))
      .report;
    const args = runArgs(model, memory, flags);
    const { tokens, mode, peakBytes, report } = await limitedRun(args, plannedBytes);
    const isEqual = JSON.stringify(tokens) === JSON.stringify(whole.tokens);
    ok &&= isEqual && tokens.length === TOKENS;
    figures.push(
      `${memory === atLeast ? `least, ${(least / MIB).toFixed(0)} MiB` : memory}: ${isEqual ? "equal" : "DIFFERENT"}, peak ${(peakBytes / MIB).toFixed(0)} of ${(plannedBytes / MIB).toFixed(0)} MiB, ${report.msPerToken.toFixed(0)} ms per token, attention ${mode["attention resident"]}${mode.head ? `, head ${mode.head}` : ""}`,
    );
  }
  return { ok, figure: `${sparsity}: ${figures.join("; ")}` };
}

async function budgetsHold() {
  const folder = process.env.FLASHLM_PROVE_FOLDER ?? join(tmpdir(), "flashlm-budgets");
  mkdirSync(folder, { recursive: true });
  try {
    const model = await prepareModel(folder, PRESET, 512, { lowrank: true, lookAhead: false });
    const results = await familiesAreTaken(folder);
    for (const sparsity of SPARSITIES) results.push(await budgetsOf(model, sparsity));
    const lines = results.map(({ figure }) => figure);
    return {
      ok: PRESET === "opt-1.3b" && results.every(({ ok }) => ok),
      figure: `${PRESET}, ${TOKENS} tokens\n    ${lines.join("\n    ")}`,
    };
  } finally {
    if (!process.env.FLASHLM_PROVE_FOLDER) rmSync(folder, { recursive: true, force: true });
  }
}

/** Points of the memory that is kept to. */
export const points = [
  {
    name: "paper.budgets",
    title:
      "a 1.3B in cgroups of 35, 50, 75 % and of the least that is taken: same tokens, nothing killed; no budget is refused that holds one layer, its keys and values and the overhead",
    heavy: true,
    run: budgetsHold,
  },
];

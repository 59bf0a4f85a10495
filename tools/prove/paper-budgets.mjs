import { mkdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { flashlmCommand, flashlmJson } from "../lib/flashlm.mjs";
import { run } from "../lib/shell.mjs";
import { limitedRun, prepareModel, runArgs } from "../lib/synthetic-model.mjs";

const PRESET = "opt-1.3b";
const SHARES = ["35%", "50%", "75%"];
const SPARSITIES = ["dense", "lowrank:0.02"];
const TOKENS = 24;
const MIB = 2 ** 20;

/** Drawn, not greedy: a made-up model's best tokens run into loops, and a draw shows any logit that differs. */
const flagsOf = (sparsity) => [
  ...["--sparsity", sparsity, "--max-tokens", String(TOKENS)],
  ...["--temperature", "1", "--seed", "7"],
];

/** The smallest budget that is taken: what the refusal of a smaller one asks for. */
async function leastBytes(model, flags) {
  const [program, args] = flashlmCommand([...runArgs(model, "1MiB", flags), "--json"]);
  const { code, output } = await run(program, args);
  const asked = /at least (\d+)/.exec(output);
  if (code === 0 || asked === null) throw new Error(`1 MiB was not refused:\n${output.slice(-500)}`);
  return Number(asked[1]);
}

/** One run per budget, each in a cgroup of what it plans; their choices beside those of the run with all of the memory. */
async function budgetsOf(model, sparsity) {
  const flags = flagsOf(sparsity);
  const whole = await flashlmJson(runArgs(model, "max", flags));
  const least = await leastBytes(model, flags);
  const figures = [];
  let ok = true;
  for (const memory of [String(least), ...SHARES]) {
    const { plannedBytes } = (await flashlmJson(runArgs(model, memory, [...flags, "--max-tokens", "1"])))
      .report;
    const args = runArgs(model, memory, flags);
    const { tokens, mode, peakBytes, report } = await limitedRun(args, plannedBytes);
    const isEqual = JSON.stringify(tokens) === JSON.stringify(whole.tokens);
    ok &&= isEqual && tokens.length === TOKENS;
    figures.push(
      `${memory === String(least) ? `least, ${(least / MIB).toFixed(0)} MiB` : memory}: ${isEqual ? "equal" : "DIFFERENT"}, peak ${(peakBytes / MIB).toFixed(0)} of ${(plannedBytes / MIB).toFixed(0)} MiB, ${report.msPerToken.toFixed(0)} ms per token, attention ${mode["attention resident"]}${mode.head ? `, head ${mode.head}` : ""}`,
    );
  }
  return { ok, figure: `${sparsity}: ${figures.join("; ")}` };
}

async function budgetsHold() {
  const folder = process.env.FLASHLM_PROVE_FOLDER ?? join(tmpdir(), "flashlm-budgets");
  mkdirSync(folder, { recursive: true });
  try {
    const model = await prepareModel(folder, PRESET, 512, { lowrank: true, lookAhead: false });
    const results = [];
    for (const sparsity of SPARSITIES) results.push(await budgetsOf(model, sparsity));
    const lines = results.map(({ figure }) => figure);
    return {
      ok: results.every(({ ok }) => ok),
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
    title: "a 1.3B in cgroups of 35, 50, 75 % and of the least that is taken: same tokens, nothing killed",
    heavy: true,
    run: budgetsHold,
  },
];

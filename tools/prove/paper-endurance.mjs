import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fixture, flashlmCommand, hasShared, MODELS, PROOF_ENV } from "../lib/flashlm.mjs";
import { run } from "../lib/shell.mjs";
import { ROOT } from "../lib/workspace.mjs";

const RATIO_MAX = 1.1;
/** Other programs on the machine disturb a run; the middle one of so many counts. */
const TRIES = 3;
/** What the engine holds may not grow. What the process has may in steps, when V8 enlarges its heap, late in a run and once. */
const HELD_GROWTH_BYTES_MAX = 512 * 1024;
const RESIDENT_GROWTH_BYTES_MAX = 12 * 1024 ** 2;
/** Neuron slots for this share, so that tokens go on reading. */
const SLOT_SHARE = 0.3;

/**
 * A model of sliding-window attention (16 tokens), whose work per token does not depend on the position, shows what the machinery costs: its
 * latency and memory are judged. The real ReLU network attends to everything before it, which must cost more at a later position: its memory
 * is judged and its latency given.
 */
const RUNS = [
  { name: "mistral fixture", tokens: 1_000, sparsity: "shadow:0.5", isFlat: true },
  { name: "mistral fixture", tokens: 10_000, sparsity: "shadow:0.5", isFlat: true },
  { name: "ReLU student q8_0", tokens: 1_000, sparsity: "oracle", isFlat: false },
];

async function bundleInto(checkpoint, folder, name, dtype) {
  const out = join(folder, name);
  const [program, args] = flashlmCommand(["bundle", checkpoint, "--out", out, "--dtype", dtype]);
  const { code, output } = await run(program, args, { env: PROOF_ENV });
  if (code !== 0) throw new Error(`bundling ended with ${code}:\n${output.slice(-2000)}`);
  return out;
}

async function endure(bundle, { tokens, sparsity }) {
  const script = join(ROOT, "tools/lib/endurance-run.mjs");
  const args = ["--expose-gc", script, bundle, String(tokens), sparsity, String(SLOT_SHARE)];
  const { code, output } = await run(process.execPath, args, { env: PROOF_ENV });
  const line = output.split("\n").find((candidate) => candidate.startsWith("{"));
  if (code !== 0 || !line) throw new Error(`${tokens} tokens ended with ${code}:\n${output.slice(-2000)}`);
  return JSON.parse(line);
}

const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];

/** Mean latency of the last tenth over that of the second, the median of the tries, and what memory grew by between them, the most of any try. */
async function judge(bundle, settings) {
  const tries = [];
  for (let attempt = 0; attempt < (settings.isFlat ? TRIES : 1); attempt++)
    tries.push(await endure(bundle, settings));
  const ratios = tries.map(({ tenthMs }) => tenthMs[9] / tenthMs[1]);
  const growthOf = (kind) =>
    Math.max(...tries.map(({ tenthBytes }) => tenthBytes[9][kind] - tenthBytes[1][kind]));
  const growth = { held: growthOf("held"), resident: growthOf("resident") };
  const ratio = median(ratios);
  const middle = tries[ratios.indexOf(ratio)];
  const perToken = (tenth) => ((10 * middle.tenthMs[tenth]) / settings.tokens).toFixed(2);
  const ok =
    tries.every(({ count, decodeReadBytes }) => count === settings.tokens && decodeReadBytes > 0) &&
    (ratio <= RATIO_MAX || !settings.isFlat) &&
    growth.held <= HELD_GROWTH_BYTES_MAX &&
    growth.resident <= RESIDENT_GROWTH_BYTES_MAX;
  const figure =
    `${settings.name}, ${settings.tokens} tokens (${middle.distinctTokens} different): ${perToken(1)} ms in the second tenth, ` +
    `${perToken(9)} ms in the last, ratio ${ratio.toFixed(3)} of ${ratios.map((each) => each.toFixed(3)).join(", ")}` +
    `${settings.isFlat ? ` (median at most ${RATIO_MAX})` : " (attention over all of the text included)"}, ` +
    `heap and buffers +${(growth.held / 1024).toFixed(0)} KiB, resident memory +${(growth.resident / 1024).toFixed(0)} KiB of ${(middle.tenthBytes[1].resident / 1024 ** 2).toFixed(0)} MiB, ${(middle.decodeReadBytes / settings.tokens / 1024).toFixed(1)} KiB read per token`;
  return { ok, figure };
}

async function longRunsAreFlat() {
  if (!hasShared || !existsSync(MODELS.student))
    return { ok: false, figure: "the fixtures and the ReLU student are not beside the project (../shared)" };
  const folder = mkdtempSync(join(tmpdir(), "flashlm-endurance-"));
  try {
    const bundles = {
      "mistral fixture": await bundleInto(fixture("families/mistral"), folder, "mistral", "f32"),
      "ReLU student q8_0": await bundleInto(MODELS.student, folder, "student", "q8_0"),
    };
    const results = [];
    for (const settings of RUNS) results.push(await judge(bundles[settings.name], settings));
    return {
      ok: results.every(({ ok }) => ok),
      figure: results.map(({ figure }) => figure).join("; "),
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** That long runs stay what they were at the start. */
export const points = [
  {
    name: "paper.5",
    title: "1,000 and 10,000 tokens: latency and memory stay flat",
    heavy: true,
    run: longRunsAreFlat,
  },
];

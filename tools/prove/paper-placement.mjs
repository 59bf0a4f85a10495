import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { countTests } from "../lib/counts.mjs";
import { fixture, flashlmOutput, hasShared, MODELS, readFixture } from "../lib/flashlm.mjs";
import { continued, GREEDY, kernelTargets, sameTokens, targetsAgree } from "../lib/token-agreement.mjs";
import { vitestReport } from "../lib/vitest-report.mjs";

/** FLASHLM_PROVE_TOKENS shortens runs while developing. */
const STEPS = Number(process.env.FLASHLM_PROVE_TOKENS ?? 256);
/** Drawn with a seed, the smallest difference of a logit shows in time; random weights loop when they are greedy. */
const SAMPLED = ["--temperature", "0.9", "--top-p", "1", "--seed", "20"];

/** The first of a list is what the others are compared with. */
const PLACEMENTS = [
  "--memory max --reader memory --threads 1",
  "--memory 40%",
  "--memory 50% --cache compact --cache-window 2",
  "--memory 65% --cache lru --threads 3",
  "--memory 65% --cache lfu:16 --reader node",
  "--memory 75% --cache hybrid:0.3 --prompt-chunk 3",
  "--memory 50% --cache pinned --verify always --context 700",
  "--memory 100% --threads 1 --prompt-chunk 1",
];
/** Of a tiny model, which must be given more for its fixed buffers. */
const TINY_PLACEMENTS = [
  "--memory max --reader memory --threads 1",
  "--memory 60%",
  "--memory 80% --cache compact --prompt-chunk 5",
  "--memory 100% --cache lru --reader node --threads 3",
  "--memory 70% --cache pinned --context 512",
];

const words = (text) => text.split(" ").filter(Boolean);

async function tokensOf(model, prompt, flags) {
  return (await continued(model, prompt, STEPS, flags)).tokens;
}

/** Runs a model in every placement; all must give the tokens of the first. */
async function placementsAgree(name, model, prompt, placements, flags) {
  const expected = await tokensOf(model, prompt, [...words(placements[0]), ...flags]);
  const failed = [];
  for (const placement of placements.slice(1)) {
    const tokens = await tokensOf(model, prompt, [...flags, ...words(placement)]);
    if (tokens.length !== STEPS || !sameTokens(tokens, expected)) failed.push(placement);
  }
  const good = placements.length - failed.length;
  const figure = `${name} ${good}/${placements.length}${failed.map((placement) => ` (not: ${placement})`).join("")}`;
  return { ok: failed.length === 0, figure, expected };
}

async function studentParts(folder) {
  const [first] = readFixture("smollm2-relu/greedy.json").runs;
  const prompt = [...first.promptTokens, ...first.greedy.slice(0, 60)];
  const student = MODELS.student;
  const parts = [];
  for (const sparsity of ["oracle", "gate-shadow:0.1"]) {
    const flags = ["--dtype", "q8_0", "--sparsity", sparsity];
    const placed = await placementsAgree(`student ${sparsity}`, student, prompt, PLACEMENTS, [
      ...flags,
      ...GREEDY,
    ]);
    parts.push(placed);
    const drafts = [
      [
        "--draft",
        student,
        "--draft-dtype",
        "q4_0",
        "--draft-sparsity",
        "gate-shadow:0.1",
        "--draft-tokens",
        "8",
      ],
      [
        "--draft",
        student,
        "--draft-dtype",
        "q8_0",
        "--draft-sparsity",
        "shadow:0.3",
        "--draft-tokens",
        "3",
        "--memory",
        "50%",
      ],
    ];
    parts.push(await draftsAgree(`student ${sparsity}`, student, prompt, placed.expected, drafts, flags));
  }
  const targets = (await kernelTargets(fixture("families/llama-relu"))).filter(
    (target) => target !== "reference",
  );
  parts.push(
    await targetsAgree({
      ...{ name: "student oracle", model: student, prompt, steps: STEPS, targets, folder },
      flags: ["--dtype", "q8_0", "--sparsity", "oracle"],
    }),
  );
  return parts;
}

/** Greedy tokens with draft models are those without. */
async function draftsAgree(name, model, prompt, expected, drafts, flags) {
  let good = 0;
  const rates = [];
  for (const draft of drafts) {
    const { tokens, report } = await continued(model, prompt, STEPS, [...flags, ...GREEDY, ...draft]);
    if (tokens.length === STEPS && sameTokens(tokens, expected)) good++;
    rates.push(`${(100 * report.speculation.acceptanceRate).toFixed(0)}%`);
  }
  return {
    ok: good === drafts.length,
    figure: `${name} with drafts ${good}/${drafts.length} (accepted ${rates.join(", ")})`,
  };
}

/** Tiny synthetic models, one with trained heads, so that look-ahead can be switched. */
async function tinyParts(folder) {
  const parts = [];
  const help = await flashlmOutput(["run", "--help"]);
  for (const preset of ["tiny", "tiny-llama"]) {
    const bundle = join(folder, preset);
    await flashlmOutput(["synth", "--preset", preset, "--no-measure", "--out", `${bundle}-checkpoint`]);
    await flashlmOutput(["bundle", `${bundle}-checkpoint`, "--out", bundle]);
    const prompt = Array.from({ length: 37 }, (_, at) => (at * 7919 + 11) % 1000);
    for (const sparsity of ["dense", "oracle"])
      parts.push(
        await placementsAgree(`${preset} ${sparsity}`, bundle, prompt, TINY_PLACEMENTS, [
          "--sparsity",
          sparsity,
          ...SAMPLED,
        ]),
      );
    const greedy = await tokensOf(bundle, prompt, ["--sparsity", "oracle", ...GREEDY]);
    const drafts = [["--draft", bundle, "--draft-sparsity", "oracle", "--draft-tokens", "8"]];
    parts.push(
      await draftsAgree(`${preset} oracle`, bundle, prompt, greedy, drafts, ["--sparsity", "oracle"]),
    );
    parts.push(
      await targetsAgree({
        ...{ name: `${preset} oracle`, model: bundle, prompt, steps: STEPS, folder },
        ...{ targets: await kernelTargets(bundle), flags: ["--sparsity", "oracle"] },
      }),
    );
    const text = Array.from({ length: 4000 }, (_, at) => (at * at * 31 + at * 17) % 1000).join(",");
    await flashlmOutput([
      "train-predictor",
      bundle,
      "--tokens",
      text,
      "--rank",
      "16",
      "--epochs",
      "1",
      "--window",
      "128",
    ]);
    const ahead = help.includes("--look-ahead") ? ["off", "on"] : [];
    const placements = [...TINY_PLACEMENTS, ...ahead.map((when) => `--memory 60% --look-ahead ${when}`)];
    parts.push(
      await placementsAgree(`${preset} lowrank`, bundle, prompt, placements, [
        "--sparsity",
        "lowrank",
        ...SAMPLED,
      ]),
    );
  }
  return parts;
}

/** Sampled tokens with a draft follow the target's distribution: chi-square over many seeds; the tests state their threshold. */
async function distributionStays() {
  const runs = "2000";
  const { report, code } = await vitestReport(["packages/runtime/test/speculative"], { FLASHLM_RUNS: runs });
  const { passed, failed, skipped } = countTests(report, code);
  return {
    ok: failed === 0 && skipped === 0 && passed > 0,
    figure: `distribution with drafts, ${runs} seeds a test: ${passed} passed, ${failed} failed, ${skipped} skipped`,
  };
}

async function placementNeverMatters() {
  if (!hasShared || !existsSync(MODELS.student))
    return { ok: false, figure: "the ReLU student is not beside the project (../shared/models)" };
  const folder = mkdtempSync(join(tmpdir(), "flashlm-placement-"));
  try {
    const parts = [...(await tinyParts(folder)), ...(await studentParts(folder)), await distributionStays()];
    return {
      ok: parts.every((part) => part.ok),
      figure: `${STEPS} tokens each: ${parts.map((part) => part.figure).join("; ")}`,
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Where bytes are never changes what is computed. */
export const points = [
  {
    name: "paper.4",
    title: "budgets, caches, readers, threads, prompt chunks, look-ahead and drafts never change a token",
    heavy: true,
    run: placementNeverMatters,
  },
];

import { countTests } from "../lib/counts.mjs";
import { fixture, flashlmJson, hasShared, MODELS, readFixture } from "../lib/flashlm.mjs";
import { compareGreedy } from "../lib/greedy.mjs";
import { vitestReport } from "../lib/vitest-report.mjs";

const STEPS = 192;
const GREEDY = ["--temperature", "0", "--max-tokens", String(STEPS), "--ignore-eos"];

/** Greedy tokens of a prompt. */
export async function greedyTokens(model, promptTokens, flags) {
  return (await flashlmJson(["run", model, "--prompt-tokens", promptTokens.join(","), ...GREEDY, ...flags]))
    .tokens;
}

async function promptsAgree(model, folder, flags) {
  const { runs } = readFixture(`${folder}/greedy.json`);
  let good = 0;
  let partings = 0;
  for (const reference of runs) {
    const result = compareGreedy(await greedyTokens(model, reference.promptTokens, flags), reference);
    if (result.ok) good++;
    if (result.leftAt !== null) partings++;
  }
  return {
    ok: good === runs.length,
    figure: `${good}/${runs.length} prompts (${partings} parted at a close call)`,
  };
}

async function fixturesAgree() {
  if (!hasShared) return { ok: false, figure: "the reference outputs (../shared) are not here" };
  const files = [
    "packages/runtime/test/families",
    "packages/runtime/test/gguf",
    "packages/runtime/test/tokenizer",
  ];
  const { report, code } = await vitestReport(files);
  const counts = countTests(report, code);
  const dense = await promptsAgree(MODELS.smollm2, "smollm2", ["--dtype", "f32", "--memory", "max"]);
  const student = await promptsAgree(MODELS.student, "smollm2-relu", ["--dtype", "f32", "--memory", "max"]);
  const oracle = await promptsAgree(MODELS.student, "smollm2-relu", [
    "--dtype",
    "f32",
    "--memory",
    "max",
    "--sparsity",
    "oracle",
  ]);
  const ok =
    counts.failed === 0 && counts.skipped === 0 && counts.passed > 0 && dense.ok && student.ok && oracle.ok;
  return {
    ok,
    figure: `fixtures ${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped; SmolLM2 dense ${dense.figure}; student dense ${student.figure}, oracle ${oracle.figure}`,
  };
}

const TEXTS = ["prose-evaluation.txt", "python-reference-evaluation.txt", "gpl-3.txt"];

async function perplexityOf(text, flags) {
  return flashlmJson([
    "perplexity",
    MODELS.smollm2,
    "--text",
    fixture(`text/${text}`),
    "--window",
    "512",
    "--memory",
    "max",
    ...flags,
  ]);
}

async function perplexityAgrees() {
  const reference = readFixture("smollm2/perplexity.json");
  const limits = { f32: 0.001, q8_0: 0.01, q4_0: 0.04, "f16 q8_0": 0.005 };
  const lines = [];
  let ok = true;
  for (const [dtypes, limit] of Object.entries(limits)) {
    const [dtype, residentDtype] = dtypes.split(" ");
    const flags = ["--dtype", dtype, ...(residentDtype ? ["--resident-dtype", residentDtype] : [])];
    for (const text of TEXTS) {
      const { perplexity, scoredTokens } = await perplexityOf(text, flags);
      const change = perplexity / reference[text].perplexity - 1;
      if (Math.abs(change) > limit || scoredTokens !== reference[text].scoredTokens) ok = false;
      lines.push(`${dtypes} ${text.split("-")[0]} ${(100 * change).toFixed(3)}%`);
    }
  }
  for (const text of TEXTS.slice(0, 2)) {
    const { perplexity, keptShare } = await perplexityOf(text, [
      "--dtype",
      "f32",
      "--sparsity",
      "shadow:0.6",
    ]);
    const change = perplexity / reference[text].perplexity - 1;
    if (change > 0.025 || Math.abs(keptShare - 0.6) > 0.02) ok = false;
    lines.push(
      `shadow:0.6 ${text.split("-")[0]} ${(100 * change).toFixed(2)}% at ${keptShare.toFixed(3)} kept`,
    );
  }
  return { ok, figure: lines.join(", ") };
}

/** Settings that may not change a token, beside the first one. */
const PLACEMENTS = [
  ["--memory", "100%", "--reader", "memory", "--threads", "1"],
  ["--memory", "50%"],
  ["--memory", "65%", "--cache", "compact"],
  ["--memory", "100%", "--threads", "1"],
  ["--memory", "50%", "--cache", "compact", "--reader", "memory"],
  ["--memory", "65%", "--prompt-chunk", "3"],
];

const TINY_PLACEMENTS = [
  ["--memory", "max", "--reader", "memory", "--threads", "1"],
  ["--memory", "max", "--cache", "compact"],
  ["--memory", "max", "--prompt-chunk", "5"],
];

async function placementsAgree(model, promptTokens, placements, flags) {
  let first = null;
  let same = 0;
  let fewer = true;
  for (const placement of placements) {
    const { tokens, report } = await flashlmJson([
      "run",
      model,
      "--prompt-tokens",
      promptTokens.join(","),
      ...GREEDY,
      ...placement,
      ...flags,
    ]);
    first ??= tokens;
    if (tokens.length === STEPS && tokens.every((token, index) => token === first[index])) same++;
    fewer &&= report.keptShare < 0.999;
  }
  return { same: same === placements.length, fewer, figure: `${same}/${placements.length}` };
}

async function placementNeverMatters() {
  const lines = [];
  let ok = true;
  const check = async (name, model, prompt, placements, flags, sparse) => {
    const result = await placementsAgree(model, prompt, placements, flags);
    if (!result.same || (sparse && !result.fewer)) ok = false;
    lines.push(`${name} ${result.figure}`);
  };
  const [run] = readFixture("smollm2/greedy.json").runs;
  for (const dtype of ["f32", "q8_0"]) {
    await check(
      `SmolLM2 ${dtype} dense`,
      MODELS.smollm2,
      run.promptTokens,
      PLACEMENTS,
      ["--dtype", dtype],
      false,
    );
    await check(
      `SmolLM2 ${dtype} shadow:0.6`,
      MODELS.smollm2,
      run.promptTokens,
      PLACEMENTS,
      ["--dtype", dtype, "--sparsity", "shadow:0.6"],
      true,
    );
    await check(
      `student ${dtype} oracle`,
      MODELS.student,
      run.promptTokens,
      PLACEMENTS,
      ["--dtype", dtype, "--sparsity", "oracle"],
      true,
    );
  }
  for (const family of ["llama-relu", "llama-fatrelu", "bamboo"]) {
    const { prompt } = readFixture(`families/${family}/expected.json`);
    await check(
      `${family} oracle`,
      fixture(`families/${family}`),
      prompt,
      TINY_PLACEMENTS,
      ["--dtype", "f32", "--sparsity", "oracle"],
      true,
    );
  }
  return { ok, figure: lines.join(", ") };
}

/** What the model computes. */
export const points = [
  {
    name: "foundation.2",
    title: "fixtures, SmolLM2 and its ReLU student agree with the references",
    heavy: true,
    run: fixturesAgree,
  },
  {
    name: "foundation.3",
    title: "perplexity against the reference by dtype, and with the shadow predictor",
    heavy: true,
    run: perplexityAgrees,
  },
  {
    name: "foundation.4",
    title: "budgets, readers, threads and caches never change a token",
    heavy: true,
    run: placementNeverMatters,
  },
];

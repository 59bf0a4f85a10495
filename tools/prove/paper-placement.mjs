import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { countTests } from "../lib/counts.mjs";
import { fixture, flashlmJson, flashlmOutput, hasShared, MODELS, readFixture } from "../lib/flashlm.mjs";
import { leastBytes, shareOf } from "../lib/least-budget.mjs";
import { prepareModel } from "../lib/synthetic-model.mjs";
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
  "--memory 40% --reader io_uring",
  "--memory 60% --reader pread",
  "--memory least",
];
/** Other kernels have sums of their own, so they are compared among themselves. */
const WASM_PLACEMENTS = [
  "--kernels wasm --memory max --reader memory --threads 1",
  "--kernels wasm --memory 40%",
  "--kernels wasm --memory 75% --reader pread --threads 3",
];
/** Of a model with trained heads that is not tiny. */
const HEADS_PLACEMENTS = [
  "--memory max --reader memory --threads 1 --look-ahead off",
  "--memory 50% --look-ahead off",
  "--memory 50% --look-ahead on",
  "--memory 75% --look-ahead on --cache lru --reader pread",
  "--memory least --look-ahead on",
];
const HEADS = { preset: "opt-125m", sparsities: ["lowrank:0.02", "lookahead:0.02"], trainTokens: 1024 };
/** Of a tiny model, which must be given more for its fixed buffers. */
const TINY_PLACEMENTS = [
  "--memory max --reader memory --threads 1",
  "--memory 60%",
  "--memory 80% --cache compact --prompt-chunk 5",
  "--memory 100% --cache lru --reader node --threads 3",
  "--memory 70% --cache pinned --context 512",
  "--memory 60% --reader io_uring",
  "--memory 60% --reader pread",
  "--memory least",
];

const words = (text) => text.split(" ").filter(Boolean);

async function tokensOf(model, prompt, flags) {
  return (await continued(model, prompt, STEPS, flags)).tokens;
}

/** Flags of a placement; "least" is the least memory that such a run takes. */
async function placed(model, prompt, flags, placement) {
  const own = words(placement);
  const at = own.indexOf("least");
  if (at < 0) return own;
  const { weightBytes } = await flashlmJson(["inspect", model]);
  const fixed = ["run", model, "--prompt-tokens", prompt.join(","), "--max-tokens", String(STEPS), ...flags];
  const least = await leastBytes((memory) => [...fixed, ...own.with(at, memory)]);
  return own.with(at, shareOf(least, weightBytes));
}

/** Runs a model in every placement; all must give the tokens of the first. */
async function placementsAgree(name, model, prompt, placements, flags) {
  const expected = await tokensOf(model, prompt, [...words(placements[0]), ...flags]);
  const failed = [];
  for (const placement of placements.slice(1)) {
    const tokens = await tokensOf(model, prompt, [
      ...flags,
      ...(await placed(model, prompt, flags, placement)),
    ]);
    if (tokens.length !== STEPS || !sameTokens(tokens, expected)) failed.push(placement);
  }
  const good = placements.length - failed.length;
  const figure = `${name} ${good}/${placements.length}${failed.map((placement) => ` (not: ${placement})`).join("")}`;
  return noted({ ok: failed.length === 0, figure, expected });
}

/** Says a part's figure as soon as it is known: all parts together take a quarter of an hour. */
function noted(part) {
  process.stderr.write(`    ${part.ok ? "" : "DIFFERS: "}${part.figure}\n`);
  return part;
}

async function studentParts(folder) {
  const [first] = readFixture("smollm2-relu/greedy.json").runs;
  const prompt = [...first.promptTokens, ...first.greedy.slice(0, 60)];
  const student = MODELS.student;
  const parts = [];
  for (const sparsity of ["oracle", "gate-shadow:0.1"]) {
    const flags = ["--dtype", "q8_0", "--sparsity", sparsity];
    const plain = await placementsAgree(`student ${sparsity}`, student, prompt, PLACEMENTS, [
      ...flags,
      ...GREEDY,
    ]);
    parts.push(plain);
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
    parts.push(await draftsAgree(`student ${sparsity}`, student, prompt, plain.expected, drafts, flags));
  }
  const wasmFlags = ["--dtype", "q8_0", "--sparsity", "oracle", ...GREEDY];
  parts.push(await placementsAgree("student oracle on WASM", student, prompt, WASM_PLACEMENTS, wasmFlags));
  const targets = (await kernelTargets(fixture("families/llama-relu"))).filter(
    (target) => target !== "reference",
  );
  const agreed = await targetsAgree({
    ...{ name: "student oracle", model: student, prompt, steps: STEPS, targets, folder },
    flags: ["--dtype", "q8_0", "--sparsity", "oracle"],
  });
  parts.push(noted(agreed));
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
  return noted({
    ok: good === drafts.length,
    figure: `${name} with drafts ${good}/${drafts.length} (accepted ${rates.join(", ")})`,
  });
}

/** A larger model with trained heads: look-ahead, and a draft that uses its heads. */
async function headsParts(folder) {
  const { preset, sparsities, trainTokens } = HEADS;
  const { bundle, tokens } = await prepareModel(folder, preset, trainTokens);
  const prompt = tokens.slice(tokens.length / 2, tokens.length / 2 + 64);
  const parts = [];
  for (const sparsity of sparsities) parts.push(...(await headsPart(preset, bundle, prompt, sparsity)));
  return parts;
}

async function headsPart(preset, bundle, prompt, sparsity) {
  const flags = ["--sparsity", sparsity];
  const drawn = await placementsAgree(`${preset} ${sparsity}`, bundle, prompt, HEADS_PLACEMENTS, [
    ...flags,
    ...SAMPLED,
  ]);
  const draft = ["--draft", bundle, "--draft-sparsity", sparsity, "--draft-tokens", "4"];
  const drafts = ["off", "on"].map((when) => [...draft, "--memory", "50%", "--look-ahead", when]);
  const expected = await tokensOf(bundle, prompt, [...flags, ...GREEDY, "--look-ahead", "off"]);
  return [drawn, await draftsAgree(`${preset} ${sparsity}`, bundle, prompt, expected, drafts, flags)];
}

/** Tiny synthetic models, one with trained heads, so that look-ahead can be switched. */
async function tinyParts(folder) {
  const parts = [];
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
    const agreed = await targetsAgree({
      ...{ name: `${preset} oracle`, model: bundle, prompt, steps: STEPS, folder },
      ...{ targets: await kernelTargets(bundle), flags: ["--sparsity", "oracle"] },
    });
    parts.push(noted(agreed));
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
    const placements = [
      ...TINY_PLACEMENTS,
      ...["off", "on"].map((when) => `--memory 60% --look-ahead ${when}`),
    ];
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
    const parts = [
      ...(await tinyParts(folder)),
      ...(await headsParts(folder)),
      ...(await studentParts(folder)),
      await distributionStays(),
    ];
    return {
      ok: parts.every((part) => part.ok),
      figure: `${STEPS} tokens each\n    ${parts.map((part) => part.figure).join("\n    ")}`,
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

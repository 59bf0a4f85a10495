import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { countTests } from "../lib/counts.mjs";
import { MODELS } from "../lib/flashlm.mjs";
import { listVariants, onPath, withHarness } from "../lib/kernel-harness.mjs";
import { run } from "../lib/shell.mjs";
import { targetsAgree, threadsAgree } from "../lib/token-agreement.mjs";
import { vitestReport } from "../lib/vitest-report.mjs";
import { ROOT } from "../lib/workspace.mjs";

/** FLASHLM_PROVE_TOKENS shortens runs while developing. */
const STEPS = Number(process.env.FLASHLM_PROVE_TOKENS ?? 128);
const THREAD_COUNTS = [1, 2, 3];
const PROMPT = [1, 5345, 253, 1398, 282, 42365, 5085, 260, 2798];
/** The reference is too slow for a real model: it runs one of random weights, which has a vocabulary of its own. */
const SMALL = join(ROOT, "fixtures/families/llama-relu");
const SMALL_PROMPT = [1, 5, 9, 14, 20, 33];

/** Tools under which the harness must stay clean, and the Debian packages that bring them. */
const LAUNCHERS = [
  { label: "valgrind", packageName: "valgrind", command: ["valgrind", "-q", "--error-exitcode=9"] },
  // A processor of 2010 without AVX: every variant must refuse itself there.
  {
    label: "a processor without AVX",
    packageName: "qemu-user",
    command: ["qemu-x86_64", "-cpu", "Westmere"],
  },
];

/** Every usable variant under a launcher; lines of what was wrong. */
async function runVariants(program, launcher, variants) {
  const wrong = [];
  for (const [name, state] of variants) {
    const [command, ...args] = [...launcher, program, name];
    const { code, output } = await run(command, args);
    // A variant that the machine lacks must say so with code 3, never crash.
    const clean = state === "usable" ? code === 0 && output.trim() === `${name}: clean` : code === 3;
    if (!clean) wrong.push(`${name} ended with ${code}: ${output.slice(0, 2000)}`);
  }
  return wrong;
}

/** What a tool that is not there would have shown is not shown: that falls short. */
async function underTools() {
  const wrong = [];
  const done = [];
  const sanitizers = ["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"];
  await withHarness(sanitizers, async (program) => {
    const variants = await listVariants(program);
    wrong.push(...(await runVariants(program, [], variants)));
    done.push(`sanitizers on ${variants.filter(([, state]) => state === "usable").map(([name]) => name)}`);
  });
  await withHarness(["-O2"], async (program) => {
    for (const { label, packageName, command } of LAUNCHERS) {
      if (onPath(command[0]) === undefined) {
        wrong.push(
          `${label}: NOT CHECKED, ${command[0]} is not installed (Debian: apt-get install ${packageName})`,
        );
        continue;
      }
      const variants = await listVariants(program, command);
      wrong.push(...(await runVariants(program, command, variants)));
      const states = variants.map(([name, state]) => `${name} ${state === "usable" ? "clean" : "refused"}`);
      done.push(`${label}: ${states.join(", ")}`);
    }
  });
  return { ok: wrong.length === 0, figure: [...done, ...wrong].join("; ") };
}

async function kernelTests() {
  const { report, code } = await vitestReport(["packages/kernels"]);
  const { passed, failed, skipped } = countTests(report, code);
  return {
    ok: failed === 0 && skipped === 0 && passed > 0,
    figure: `kernel tests: ${passed} passed, ${failed} failed, ${skipped} skipped`,
  };
}

/** Tokens of a real model on each fast target, in both arithmetics, with several thread counts, and of a small one on all targets. */
async function tokensAgree() {
  if (!existsSync(MODELS.smollm2)) return [{ ok: false, figure: `${MODELS.smollm2} is not there` }];
  const folder = mkdtempSync(join(tmpdir(), "flashlm-kernels-"));
  try {
    const results = [];
    const real = { model: MODELS.smollm2, prompt: PROMPT, steps: STEPS };
    for (const dots of ["f32", "q8"]) {
      const flags = ["--dots", dots];
      for (const target of ["native", "wasm"]) {
        const name = `SmolLM2, dots in ${dots}, ${STEPS} tokens on ${target} with ${THREAD_COUNTS} threads`;
        results.push(await threadsAgree({ ...real, name, target, threadCounts: THREAD_COUNTS, flags }));
      }
    }
    const small = { model: SMALL, prompt: SMALL_PROMPT, steps: STEPS };
    for (const [name, each, targets] of [
      ["SmolLM2", real, ["native", "wasm"]],
      ["llama-relu fixture", small, ["reference", "native", "wasm"]],
    ])
      results.push(await targetsAgree({ ...each, name, targets, flags: [], folder }));
    return results;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function kernelsAgree() {
  const results = [await kernelTests(), await underTools(), ...(await tokensAgree())];
  return {
    ok: results.every(({ ok }) => ok),
    figure: results.map(({ figure }) => figure).join("\n    "),
  };
}

/** That it does not matter which kernels compute, nor on how many threads. */
export const points = [
  {
    name: "kernels.6",
    title:
      "targets agree with the reference and tokens across threads; sanitizers and valgrind are clean; missing instructions are refused",
    heavy: true,
    run: kernelsAgree,
  },
];

import { join } from "node:path";
import { flashlmJson, flashlmOutput } from "./flashlm.mjs";
import { MARGIN } from "./greedy.mjs";
import { marginOf, readLogits } from "./logit-margin.mjs";

/** No draw: the best token each time. */
export const GREEDY = ["--temperature", "0"];

/** Whether two runs gave the same tokens, as many of them. */
export function sameTokens(left, right) {
  return left.length === right.length && left.every((token, at) => token === right[at]);
}

/** What `flashlm run` reports of `steps` tokens after a prompt of tokens. */
export function continued(model, prompt, steps, flags) {
  const fixed = ["--prompt-tokens", prompt.join(","), "--max-tokens", String(steps), "--ignore-eos"];
  return flashlmJson(["run", model, ...fixed, ...flags]);
}

/** Kernel targets that run a model on this machine, fastest first. */
export async function kernelTargets(model) {
  const found = [];
  for (const target of ["native", "wasm", "reference"]) {
    const works = await continued(model, [1, 2, 3], 1, ["--kernels", target]).catch(() => null);
    if (works) found.push(target);
  }
  return found;
}

/** Difference of the two best logits of the reference run where another run leaves it. */
async function marginAt(model, tokens, flags, folder) {
  const out = join(folder, "parting.safetensors");
  await flashlmOutput(["logits", model, "--tokens", tokens.join(","), "--out", out, ...flags]);
  return marginOf(readLogits(out).at(-1));
}

/**
 * Greedy tokens on the first of `targets` and on the others; where they part, the two best logits must be closer than the tolerance.
 * `{ ok, figure, byTarget }`.
 */
export async function targetsAgree({ name, model, prompt, steps, targets, flags, folder }) {
  const [first, ...others] = targets;
  const byTarget = new Map();
  for (const target of targets)
    byTarget.set(
      target,
      (await continued(model, prompt, steps, [...flags, ...GREEDY, "--kernels", target])).tokens,
    );
  const expected = byTarget.get(first);
  const lines = [];
  let ok = targets.length > 1 && expected.length === steps;
  for (const target of others) {
    const tokens = byTarget.get(target);
    const leftAt = tokens.findIndex((token, at) => token !== expected[at]);
    ok &&= tokens.length === steps;
    if (leftAt < 0) {
      lines.push(`${target} equal`);
      continue;
    }
    const before = [...prompt, ...expected.slice(0, leftAt)];
    const margin = await marginAt(model, before, [...flags, "--kernels", first], folder);
    ok &&= margin < MARGIN;
    lines.push(`${target} parts at ${leftAt} with a margin of ${margin.toExponential(1)}`);
  }
  return { ok, figure: `${name} on ${first}: ${lines.join(", ")}`, byTarget };
}

/** Greedy tokens of a target with other thread counts; all must be those of the first. */
export async function threadsAgree({ name, model, prompt, steps, target, threadCounts, flags }) {
  const runs = [];
  for (const threads of threadCounts) {
    const own = [...flags, ...GREEDY, "--kernels", target, "--threads", String(threads)];
    runs.push(await continued(model, prompt, steps, own));
  }
  const expected = runs[0].tokens;
  const wrong = threadCounts.filter((_, at) => !sameTokens(runs[at].tokens, expected));
  const ok = wrong.length === 0 && expected.length === steps;
  const kernels = runs.map(({ mode }) => mode.kernels).join(", ");
  return { ok, figure: `${name}: ${ok ? "equal" : `DIFFERENT with ${wrong} threads`} (${kernels})` };
}

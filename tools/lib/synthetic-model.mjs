import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { flashlmCommand, flashlmJson, flashlmOutput, PROOF_ENV } from "./flashlm.mjs";
import { createMemoryCgroup } from "./memory-cgroup.mjs";
import { run } from "./shell.mjs";

export const THREADS = 2;
export const CONTEXT = 512;
const PROMPT_TOKENS = 256;
export const DECODE_TOKENS = 96;

/** What a bundle says of itself. */
export function manifestOf(bundle) {
  return JSON.parse(readFileSync(join(bundle, "bundle.json"), "utf8"));
}

/** A synthetic model as a bundle with trained heads, and tokens of its text. What is there already is used again. */
export async function prepareModel(folder, preset, trainTokens, heads = { lowrank: true, lookAhead: true }) {
  const source = join(folder, preset);
  const bundle = join(folder, `${preset}-bundle`);
  const tokens = join(source, "tokens.json");
  if (!existsSync(tokens))
    await flashlmOutput(["synth", "--preset", preset, "--no-measure", "--out", source]);
  if (!existsSync(join(bundle, "bundle.json"))) await flashlmOutput(["bundle", source, "--out", bundle]);
  // The checkpoint itself is not needed again; its text is.
  for (const name of readdirSync(source)) if (name.endsWith(".safetensors")) rmSync(join(source, name));
  const { weightBytes } = await flashlmJson(["inspect", bundle]);
  const text = JSON.parse(readFileSync(tokens, "utf8")).tokens;
  if (heads.lowrank && !hasHeads(bundle)) {
    // The second half is for measuring.
    const training = join(source, "training.json");
    writeFileSync(training, JSON.stringify(text.slice(0, text.length / 2)));
    await flashlmOutput([
      ...["train-predictor", bundle, "--tokens", training, "--limit", String(trainTokens)],
      // Short windows see more of the text than long ones with as many tokens.
      ...["--window", "64", "--epochs", "0", "--json", "--look-ahead", heads.lookAhead ? "auto" : "off"],
    ]);
  }
  return { bundle, tokens: text, weightBytes };
}

function lastObject(output) {
  return output.split("\n").findLast((line) => line.startsWith("{"));
}

function hasHeads(bundle) {
  return (manifestOf(bundle).heads?.lowrank?.length ?? 0) > 0;
}

const heldText = (tokens, stride = 1) =>
  tokens.slice(tokens.length / 2).filter((_, index) => index % stride === 0);

function argsOf(bundle, prompt, memory, flags) {
  return [
    ...["run", bundle, "--raw", "--prompt-tokens", prompt.join(","), "--ignore-eos"],
    ...["--context", String(CONTEXT), "--threads", String(THREADS), "--memory", memory, ...flags],
  ];
}

/** A command that continues a prompt of the model's text. */
export function runArgs({ bundle, tokens }, memory, flags) {
  return argsOf(bundle, heldText(tokens).slice(0, PROMPT_TOKENS), memory, flags);
}

/**
 * Decodes the text that the model's statistics are for: what such a model chooses by itself runs into loops. Every `stride`-th token of
 * it: what changes in so many steps is fresh in one.
 */
export function followArgs({ bundle, tokens }, memory, flags, stride = 1) {
  const text = heldText(tokens, stride);
  const follow = text.slice(PROMPT_TOKENS, PROMPT_TOKENS + DECODE_TOKENS);
  const given = ["--temperature", "0", "--follow", follow.join(",")];
  return argsOf(bundle, text.slice(0, PROMPT_TOKENS), memory, [...given, ...flags]);
}

/** One run of ours inside a cgroup of exactly what it plans. */
export async function limitedRun(args, limitBytes) {
  const [program, all] = flashlmCommand([...args, "--json"]);
  const { group, reason } = createMemoryCgroup(limitBytes);
  if (!group) throw new Error(`no cgroup could be made: ${reason}`);
  try {
    const { code, output } = await run(...group.command(program, all), { env: PROOF_ENV });
    const line = lastObject(output);
    if (code !== 0 || line === undefined || group.killCount() > 0)
      throw new Error(`flashlm run ended with ${code} in ${limitBytes} bytes:\n${output.slice(-1500)}`);
    return { ...JSON.parse(line), peakBytes: group.peakBytes() };
  } finally {
    group.remove();
  }
}

import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { run } from "./shell.mjs";
import { ROOT } from "./workspace.mjs";

const HOME = process.env.FLASHLM_HOME ?? join(ROOT, "node_modules/.cache/flashlm");
/** Environment with the bundles' home that proofs share. */
export const PROOF_ENV = { ...process.env, FLASHLM_HOME: HOME };
/** Reference outputs and models beside the project. */
export const SHARED = join(ROOT, "../shared");

/** True when the reference outputs are there. */
export const hasShared = existsSync(join(SHARED, "fixtures"));

export const MODELS = {
  smollm2: join(ROOT, "models/smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf"),
  student: join(SHARED, "models/smollm2-135m-relu/SmolLM2-135M-Instruct-ReLU.Q5_1.gguf"),
};

/** Path of a fixture. */
export function fixture(path) {
  return join(SHARED, "fixtures", path);
}

/** A JSON fixture. */
export function readFixture(path) {
  return JSON.parse(readFileSync(fixture(path), "utf8"));
}

/** Command line that runs our own program. */
export function flashlmCommand(args) {
  return [process.execPath, [join(ROOT, "apps/cli/bin/flashlm.cjs"), ...args]];
}

/** Runs a command and returns what it printed. Throws with that when it fails. */
export async function flashlmOutput(args) {
  mkdirSync(HOME, { recursive: true });
  const [program, all] = flashlmCommand(args);
  const { code, output } = await run(program, all, { env: PROOF_ENV });
  if (code !== 0) throw new Error(`flashlm ${args[0]} ended with ${code}:\n${output.slice(-2000)}`);
  return output;
}

/** Runs a command with `--json` and returns its object. Throws with what it printed when it fails. */
export async function flashlmJson(args) {
  mkdirSync(HOME, { recursive: true });
  const [program, all] = flashlmCommand([...args, "--json"]);
  const { code, output } = await run(program, all, { env: PROOF_ENV });
  const line = output
    .split("\n")
    .filter((candidate) => candidate.startsWith("{"))
    .at(-1);
  if (code !== 0 || line === undefined)
    throw new Error(`flashlm ${args.join(" ")} ended with ${code}:\n${output.slice(-2000)}`);
  return JSON.parse(line);
}

import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { run } from "./shell.mjs";
import { ROOT } from "./workspace.mjs";

/** The rival's version: figures are comparable only as long as it stays. */
const VERSION = "3.22.1";
const FOLDER = join(
  process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache"),
  "flashlm-benchmarks",
  `node-llama-cpp-${VERSION}`,
);

/** Installs node-llama-cpp, which nothing but benchmarks needs, outside the project. Returns its entry. */
export async function installLlamaCpp() {
  const entry = join(FOLDER, "node_modules/node-llama-cpp/dist/index.js");
  if (existsSync(entry)) return entry;
  mkdirSync(FOLDER, { recursive: true });
  writeFileSync(join(FOLDER, "package.json"), '{"private":true}');
  const args = ["install", "--ignore-scripts", "--no-audit", "--no-fund", `node-llama-cpp@${VERSION}`];
  const { code, output } = await run("npm", args, { cwd: FOLDER });
  if (code !== 0 || !existsSync(entry))
    throw new Error(`node-llama-cpp could not be installed:\n${output.slice(-2000)}`);
  return entry;
}

/**
 * Speed of llama.cpp on a GGUF file: `{ promptTokensPerSecond, tokensPerSecond }`. `request`: modelPath, promptTokens (count), decodeTokens,
 * threads, mmap. `wrap` may put the command into a cgroup.
 */
export async function llamaSpeed(request, wrap = (program, args) => [program, args]) {
  const entry = await installLlamaCpp();
  const child = join(ROOT, "tools/lib/llama-child.mjs");
  const [program, args] = wrap(process.execPath, [child, entry, JSON.stringify(request)]);
  const { code, output } = await run(program, args);
  const line = output.split("\n").findLast((candidate) => candidate.startsWith("{"));
  if (code !== 0 || line === undefined)
    throw new Error(`llama.cpp ended with ${code}:\n${output.slice(-2000)}`);
  return JSON.parse(line);
}

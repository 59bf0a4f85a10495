import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
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
/** Its build for processors with AMX copies every weight into a layout of its own, mapped file or not; the next best leaves them in the file. */
const COPYING_BUILD = join("bins", "linux-x64", "libggml-cpu-sapphirerapids.so");

/** Installs node-llama-cpp, which nothing but benchmarks needs, outside the project. Returns its entry. */
export function installLlamaCpp() {
  return installInto(FOLDER);
}

/** The same without the build that copies weights: with it no model larger than its memory loads at all. */
async function installMapping() {
  const folder = `${FOLDER}-mapping`;
  const entry = await installInto(folder);
  rmSync(join(folder, "node_modules/@node-llama-cpp/linux-x64", COPYING_BUILD), { force: true });
  return entry;
}

async function installInto(folder) {
  const entry = join(folder, "node_modules/node-llama-cpp/dist/index.js");
  if (existsSync(entry)) return entry;
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "package.json"), '{"private":true}');
  const args = ["install", "--ignore-scripts", "--no-audit", "--no-fund", `node-llama-cpp@${VERSION}`];
  const { code, output } = await run("npm", args, { cwd: folder });
  if (code !== 0 || !existsSync(entry))
    throw new Error(`node-llama-cpp could not be installed:\n${output.slice(-2000)}`);
  return entry;
}

/**
 * Speed of llama.cpp on a GGUF file: `{ promptTokensPerSecond, tokensPerSecond }`. `request`: modelPath, promptTokens (count), decodeTokens,
 * threads, mmap, and `isLargerThanMemory`. `wrap` may put the command into a cgroup.
 */
export async function llamaSpeed(request, wrap = (program, args) => [program, args]) {
  const entry = await (request.isLargerThanMemory ? installMapping() : installLlamaCpp());
  const child = join(ROOT, "tools/lib/llama-child.mjs");
  const [program, args] = wrap(process.execPath, [child, entry, JSON.stringify(request)]);
  const { code, output } = await run(program, args);
  const line = output.split("\n").findLast((candidate) => candidate.startsWith("{"));
  if (code !== 0 || line === undefined)
    throw new Error(`llama.cpp ended with ${code}:\n${output.slice(-2000)}`);
  return JSON.parse(line);
}

import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { findCompiler } from "../native/compiler.mjs";
import { run } from "./shell.mjs";
import { ROOT } from "./workspace.mjs";

const PACKAGE = join(ROOT, "packages/kernels");
const BASE_FLAGS = ["-std=c++17", "-g", "-pthread", "-Wno-psabi"];

/** Path of a program on PATH, or undefined. */
export function onPath(program) {
  const folders = (process.env.PATH ?? "").split(delimiter).filter(Boolean);
  return folders.map((folder) => join(folder, program)).find((path) => existsSync(path));
}

/** Sources of the addon for this machine, without the surface to Node, and the harness in its place. */
function harnessSources() {
  const { sources } = JSON.parse(readFileSync(join(PACKAGE, "native/addon.json"), "utf8"));
  return [
    ...sources
      .map((source) => (typeof source === "string" ? { path: source } : source))
      .filter(({ path }) => path !== "native/addon.cc")
      .filter(({ architectures }) => architectures === undefined || architectures.includes(process.arch)),
    { path: "native/test/harness.cc" },
  ];
}

/**
 * Builds the C++ harness of the kernels with `flags` and hands its path to `use`; deletes it afterwards.
 * Throws with the compiler's output where it cannot be built.
 */
export async function withHarness(flags, use) {
  const compiler = await findCompiler();
  if (compiler === undefined) throw new Error("the harness needs a C++ compiler: set CXX or install g++");
  const folder = mkdtempSync(join(tmpdir(), "flashlm-harness-"));
  const compile = async (args) => {
    const { code, output } = await run(compiler.path, [...BASE_FLAGS, ...flags, ...args]);
    if (code !== 0) throw new Error(`${compiler.path} could not build the harness:\n${output}`);
  };
  try {
    const objects = [];
    for (const { path, flags: own = [] } of harnessSources()) {
      const object = join(folder, `${objects.length}.o`);
      await compile([...own, "-c", join(PACKAGE, path), "-o", object]);
      objects.push(object);
    }
    const program = join(folder, "harness");
    await compile([...objects, "-o", program]);
    return await use(program);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Variants as `[name, state]`, state "usable" or what is missing, as the harness sees them under `launcher`. */
export async function listVariants(program, launcher = []) {
  const [command, ...args] = [...launcher, program, "list"];
  const { code, output } = await run(command, args);
  if (code !== 0) throw new Error(`the harness could not list its variants:\n${output}`);
  return output
    .trim()
    .split("\n")
    .map((line) => line.split(": "));
}

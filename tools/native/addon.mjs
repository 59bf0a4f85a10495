import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { addonFileName, buildFolder, platformName, readSpec } from "./addon-spec.mjs";
import { buildCommands, findCompiler, findHeaders, RECIPE, runStep } from "./compiler.mjs";

/**
 * Finds the native addon of the package at `packageFolder`, and builds it from the package's sources where that has not
 * been done. Never rejects. Resolves with `{ path, origin, reason }`:
 * - origin "package": `path` is that of an installed package `PACKAGE-PLATFORM` (see {@link platformName});
 * - origin "built": compiled on this machine, now or earlier;
 * - origin "none": no path, and `reason` says why for people.
 *
 * `FLASHLM_NATIVE=off` answers "none" at once. `onBuild` is called when a compiler is about to be started.
 */
export async function ensureAddon(packageFolder, { onBuild = () => {} } = {}) {
  const none = (reason) => ({ path: undefined, origin: "none", reason });
  if (process.env.FLASHLM_NATIVE === "off") return none("FLASHLM_NATIVE=off");
  try {
    const spec = readSpec(packageFolder);
    const installed = findInstalled(packageFolder, spec.name);
    if (installed !== undefined) return { path: installed, origin: "package", reason: "" };
    const fileName = addonFileName(packageFolder, spec.name, RECIPE);
    const path = join(buildFolder(packageFolder), fileName);
    if (existsSync(path)) return { path, origin: "built", reason: "" };
    const reason = await build({ packageFolder, spec, path, onBuild });
    return reason === undefined ? { path, origin: "built", reason: "" } : none(reason);
  } catch (error) {
    return none(`the native addon could not be prepared: ${error.message}`);
  }
}

/** An addon that came ready-made as an optional dependency, as the release workflow may publish them. */
function findInstalled(packageFolder, name) {
  const manifest = JSON.parse(readFileSync(join(packageFolder, "package.json"), "utf8"));
  const requireFrom = createRequire(join(packageFolder, "package.json"));
  const wanted = `${manifest.name}-${platformName()}`;
  try {
    const found = requireFrom.resolve(`${wanted}/package.json`);
    const { version } = JSON.parse(readFileSync(found, "utf8"));
    const path = join(dirname(found), `${name}.node`);
    return version === manifest.version && existsSync(path) ? path : undefined;
  } catch {
    return undefined;
  }
}

/** Compiles to a name of its own and renames, so that several processes may do it at once. Resolves with what went wrong. */
async function build({ packageFolder, spec, path, onBuild }) {
  const compiler = await findCompiler();
  if (compiler === undefined)
    return `no C++ compiler was found (${process.env.CXX ? `CXX=${process.env.CXX}` : "c++"})`;
  const failurePath = `${path}.failed`;
  const identity = `${compiler.path} ${existsSync(compiler.path) ? statSync(compiler.path).mtimeMs : ""}`;
  const failure = existsSync(failurePath) ? readFileSync(failurePath, "utf8") : "";
  if (failure.startsWith(`${identity}\n`)) return `${compiler.path} could not build it (log: ${failurePath})`;
  const headersFolder = findHeaders(createRequire(join(packageFolder, "package.json")).resolve);
  if (headersFolder === undefined) return "node_api.h was found neither in node-api-headers nor beside Node";
  onBuild();
  mkdirSync(dirname(path), { recursive: true });
  const workFolder = mkdtempSync(join(dirname(path), ".work-"));
  try {
    const outputPath = join(workFolder, "addon.node");
    const commands = buildCommands({
      compiler,
      sources: spec.sources,
      packageFolder,
      headersFolder,
      workFolder,
      outputPath,
    });
    const log = await runCommands(commands, compiler.setup);
    if (log !== undefined) {
      writeFileSync(failurePath, `${identity}\n${log}`);
      return `${compiler.path} could not build it (log: ${failurePath})`;
    }
    removeOthers(packageFolder, path, spec.name);
    renameSync(outputPath, path);
    return undefined;
  } finally {
    rmSync(workFolder, { recursive: true, force: true });
  }
}

/** Undefined when every command ended well, otherwise the log of the first that did not. */
async function runCommands({ compile, link }, setup) {
  const waiting = [...compile];
  const failures = [];
  const worker = async () => {
    for (
      let command = waiting.shift();
      command !== undefined && failures.length === 0;
      command = waiting.shift()
    ) {
      await attempt(command);
    }
  };
  const attempt = async (command) => {
    const { code, output } = await runStep(command, setup);
    if (code !== 0) failures.push(`${command[0]} ${command[1].join(" ")}\n${output}`);
  };
  await Promise.all(Array.from({ length: availableParallelism() }, worker));
  for (const command of link) if (failures.length === 0) await attempt(command);
  return failures[0];
}

/** Addons of sources that are no more. A process that runs one keeps it: the file only loses its name. */
function removeOthers(packageFolder, path, name) {
  // The user's cache may serve several versions of the package.
  if (dirname(path) !== join(packageFolder, "build")) return;
  const prefix = `${name}-${platformName()}-`;
  for (const other of readdirSync(dirname(path))) {
    if (!other.startsWith(prefix)) continue;
    rmSync(join(dirname(path), other), { force: true });
  }
}

async function main(packageFolder) {
  const { path, reason } = await ensureAddon(packageFolder, {
    onBuild: () => process.stdout.write("building the native addon ...\n"),
  });
  process.stdout.write(path === undefined ? `no native addon: ${reason}\n` : `native addon: ${path}\n`);
}

/** Whether node was started with this file; what it was started with need not be one, as in a worker made of a text. */
function isStarted() {
  const path = process.argv[1];
  return path !== undefined && existsSync(path) && realpathSync(path) === fileURLToPath(import.meta.url);
}

// Run as a program it builds the addon of the package it lies in (dist/addon.js), or of the folder it is given.
if (isStarted()) {
  await main(resolve(process.argv[2] ?? join(dirname(fileURLToPath(import.meta.url)), "..")));
}

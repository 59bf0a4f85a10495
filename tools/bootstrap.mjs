import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { packageFolders, pnpm, ROOT } from "./lib/workspace.mjs";
import { ensureAddon } from "./native/addon.mjs";

const STAMP_PATH = join(ROOT, "node_modules", ".flashlm-bootstrap.json");
/** Outputs and tests: a change there needs no new build. */
const NOT_SOURCES = new Set([
  "node_modules",
  "dist",
  "build",
  ".turbo",
  "test",
  "coverage",
  "CHANGELOG.md",
  "README.md",
]);

/** A step of the bootstrap that did not work; `log` is everything it printed. */
export class BootstrapError extends Error {
  constructor(message, log) {
    super(message);
    this.log = log;
  }
}

function hashFile(path) {
  return createHash("sha256").update(readFileSync(path)).digest("hex");
}

function addFolder(hash, folder) {
  const entries = readdirSync(folder, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const entry of entries) {
    if (NOT_SOURCES.has(entry.name)) continue;
    const path = join(folder, entry.name);
    if (entry.isDirectory()) addFolder(hash, path);
    else if (entry.isFile()) {
      const { size, mtimeMs } = statSync(path);
      hash.update(`${path} ${size} ${mtimeMs}\n`);
    }
  }
}

/** Hash of names, sizes and times of all sources: cheaper than asking turbo, which then decides by content. */
function sourcesFingerprint() {
  const hash = createHash("sha256");
  for (const folder of [...packageFolders(), join(ROOT, "tools/native")]) addFolder(hash, folder);
  for (const name of ["turbo.json", "tsconfig.base.json"]) hash.update(hashFile(join(ROOT, name)));
  return hash.digest("hex");
}

function installFingerprint() {
  const manifests = [ROOT, ...packageFolders()].map((folder) => hashFile(join(folder, "package.json")));
  return [hashFile(join(ROOT, "pnpm-lock.yaml")), ...manifests].join("\n");
}

function readStamp() {
  try {
    return JSON.parse(readFileSync(STAMP_PATH, "utf8"));
  } catch {
    return {};
  }
}

function writeStamp(stamp) {
  mkdirSync(join(ROOT, "node_modules"), { recursive: true });
  writeFileSync(STAMP_PATH, JSON.stringify(stamp));
}

function allBuilt() {
  return packageFolders().every((folder) => existsSync(join(folder, "dist", "index.js")));
}

function say(text) {
  process.stderr.write(`${text}\n`);
}

async function step(title, args) {
  say(`flashlm: ${title} ...`);
  const { code, output, elapsedMs } = await pnpm(args);
  if (code !== 0) throw new BootstrapError(`${title}: exit code ${code} (pnpm ${args.join(" ")})`, output);
  say(`flashlm: ${title}: done in ${(elapsedMs / 1000).toFixed(1)} s`);
}

/** Where packages were built before there was a compiler, their native parts are not; a build that is taken from the cache does not make up for it. */
async function ensureAddons() {
  for (const folder of packageFolders()) {
    if (!existsSync(join(folder, "native", "addon.json"))) continue;
    await ensureAddon(folder, { onBuild: () => say(`flashlm: building native parts of ${folder} ...`) });
  }
}

/**
 * Brings the workspace to a state in which everything runs: dependencies installed, packages built. Does only what
 * is missing. Needs Node, npm and a registry the first time; no compiler, no global pnpm.
 * @throws BootstrapError
 */
export async function ensureWorkspace() {
  const stamp = readStamp();
  const install = installFingerprint();
  if (stamp.install !== install) {
    await step("installing dependencies", ["install", "--frozen-lockfile", "--prefer-offline"]);
    writeStamp({ install });
  }
  const sources = sourcesFingerprint();
  if (stamp.install !== install || stamp.sources !== sources || !allBuilt()) {
    await step("building packages", ["exec", "turbo", "run", "build", "--output-logs=errors-only"]);
    writeStamp({ install, sources: sourcesFingerprint() });
  }
  await ensureAddons();
}

/** As {@link ensureWorkspace}; on failure prints the log and ends the process. */
export async function ensureWorkspaceOrExit() {
  try {
    await ensureWorkspace();
  } catch (error) {
    if (error instanceof BootstrapError) say(error.log);
    say(`flashlm: ${error.message}`);
    process.exit(1);
  }
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) await ensureWorkspaceOrExit();

import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { ensureWorkspaceOrExit } from "../bootstrap.mjs";
import { run } from "../lib/shell.mjs";
import { pnpm, publishablePackages, runBin } from "../lib/workspace.mjs";
import { firstExample, workspaceDependencies } from "./readme-example.mjs";

/** An example that takes longer than this is not one a reader runs. */
const EXAMPLE_LIMIT_MS = 60_000;
const NPM_INSTALL = [
  "install",
  "--prefer-offline",
  "--no-audit",
  "--no-fund",
  "--ignore-scripts",
  "--loglevel=error",
];

/** Two at a time: enough for the two cores this has to run on. Results in the order of `items`. */
async function mapInPairs(items, work) {
  const results = new Array(items.length);
  const indexes = items.keys();
  const worker = async () => {
    for (const index of indexes) results[index] = await work(items[index], index);
  };
  await Promise.all([worker(), worker()]);
  return results;
}

async function packInto(folder, parts) {
  const packed = await mapInPairs(parts, async ({ folder: source, manifest }) => {
    const target = join(folder, manifest.name.replace(/[@/]/g, "_"));
    mkdirSync(target);
    const { code, output } = await pnpm(["pack", "--pack-destination", target], { cwd: source });
    const file = readdirSync(target).find((name) => name.endsWith(".tgz"));
    if (code !== 0 || file === undefined) throw new Error(`pnpm pack of ${manifest.name} failed:\n${output}`);
    return [manifest.name, join(target, file)];
  });
  return new Map(packed);
}

async function runExample(folder, { folder: source, manifest }) {
  if (manifest.bin !== undefined) {
    return run("npx", ["--no-install", Object.keys(manifest.bin)[0], "--help"], {
      cwd: folder,
      limitMs: EXAMPLE_LIMIT_MS,
    });
  }
  const readmePath = join(source, "README.md");
  const example = existsSync(readmePath) ? firstExample(readFileSync(readmePath, "utf8")) : undefined;
  if (example === undefined) return { code: 1, output: `README.md of ${manifest.name} has no js block` };
  writeFileSync(join(folder, "example.mjs"), example);
  return run(process.execPath, ["example.mjs"], { cwd: folder, limitMs: EXAMPLE_LIMIT_MS });
}

/** Installs one package alone in an empty folder and runs what its README shows. Resolves with the fault, or undefined. */
async function tryAlone(part, folder, tarballs, manifests) {
  mkdirSync(folder);
  const { name } = part.manifest;
  const overrides = workspaceDependencies(name, manifests).map((other) => [
    other,
    `file:${tarballs.get(other)}`,
  ]);
  const manifest = {
    name: "pack-smoke-consumer",
    private: true,
    dependencies: { [name]: `file:${tarballs.get(name)}` },
    overrides: Object.fromEntries(overrides),
  };
  writeFileSync(join(folder, "package.json"), JSON.stringify(manifest));
  const install = await run("npm", NPM_INSTALL, { cwd: folder });
  if (install.code !== 0) return `${name}: npm install failed:\n${install.output}`;
  const example = await runExample(folder, part);
  if (example.code !== 0) return `${name}: its example ended with code ${example.code}:\n${example.output}`;
  if (example.output.trim() === "") return `${name}: its example printed nothing`;
  return undefined;
}

/** What publint and attw say against a tarball, or undefined. */
async function checkShape(name, tarball) {
  const publint = await runBin("publint", ["run", tarball, "--strict"]);
  if (publint.code !== 0) return `${name}: publint:\n${publint.output}`;
  const attw = await runBin("attw", [tarball, "--profile", "esm-only"]);
  return attw.code === 0 ? undefined : `${name}: attw:\n${attw.output}`;
}

async function tryAll(folder, names) {
  const all = publishablePackages();
  const manifests = new Map(all.map(({ manifest }) => [manifest.name, manifest]));
  const parts = names === undefined ? all : all.filter(({ manifest }) => names.includes(manifest.name));
  const needed = new Set(
    parts.flatMap(({ manifest }) => [manifest.name, ...workspaceDependencies(manifest.name, manifests)]),
  );
  const tarballs = await packInto(
    folder,
    all.filter(({ manifest }) => needed.has(manifest.name)),
  );
  const tries = await mapInPairs(parts, async (part, index) => {
    const { name } = part.manifest;
    const fault = await checkShape(name, tarballs.get(name));
    return fault ?? tryAlone(part, join(folder, `consumer-${index}`), tarballs, manifests);
  });
  const faults = tries.filter((fault) => fault !== undefined);
  return {
    passed: parts.length - faults.length,
    failed: faults.length,
    skipped: 0,
    log: faults.join("\n\n"),
  };
}

/** Packs every publishable package (or those of `names`), checks the tarball's shape (publint, attw), installs each alone and runs its README example. Expects built packages. */
export async function packSmoke(names) {
  const folder = mkdtempSync(join(tmpdir(), "flashlm-pack-"));
  try {
    return await tryAll(folder, names);
  } catch (error) {
    return { passed: 0, failed: 1, skipped: 0, log: String(error?.message ?? error) };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  await ensureWorkspaceOrExit();
  const { passed, failed, log } = await packSmoke();
  if (log !== "") process.stdout.write(`${log}\n`);
  process.stdout.write(`${passed} of ${passed + failed} packages install alone and run their example\n`);
  process.exitCode = failed === 0 ? 0 : 1;
}

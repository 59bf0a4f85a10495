import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { run } from "./shell.mjs";

/** Root folder of the repository. */
export const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

/** Reads a JSON file. */
export function readJson(path) {
  return JSON.parse(readFileSync(path, "utf8"));
}

/** Folders under `packages/` and `apps/` that hold a package. */
export function packageFolders() {
  return ["packages", "apps"].flatMap((group) =>
    readdirSync(join(ROOT, group), { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && existsSync(join(ROOT, group, entry.name, "package.json")))
      .map((entry) => join(ROOT, group, entry.name))
      .sort(),
  );
}

/** Packages that are published: `{ folder, manifest }`, in folder order. */
export function publishablePackages() {
  return packageFolders()
    .map((folder) => ({ folder, manifest: readJson(join(folder, "package.json")) }))
    .filter(({ manifest }) => manifest.private !== true);
}

/** Runs pnpm in the version that package.json names, through npx: nothing is installed globally. */
export function pnpm(args, options = {}) {
  const { packageManager } = readJson(join(ROOT, "package.json"));
  const version = packageManager.replace(/^pnpm@/, "").replace(/\+.*$/, "");
  return run("npx", ["--yes", `pnpm@${version}`, ...args], { cwd: ROOT, ...options });
}

/** Runs a program that a workspace dependency brings. */
export function runBin(name, args, options = {}) {
  return run(join(ROOT, "node_modules", ".bin", name), args, { cwd: ROOT, ...options });
}

import { createHash } from "node:crypto";
import { accessSync, constants, existsSync, readdirSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

/**
 * `native/addon.json` of a package: `{ name, sources }`. A source is a path relative to the package, or
 * `{ path, platforms?, architectures?, flags?, msvcFlags? }`; lists of platforms and architectures are those of `process`.
 */
export function readSpec(packageFolder) {
  const spec = JSON.parse(readFileSync(join(packageFolder, "native", "addon.json"), "utf8"));
  const here = (list, value) => list === undefined || list.includes(value);
  const sources = spec.sources
    .map((source) => (typeof source === "string" ? { path: source } : source))
    .filter((source) => here(source.platforms, process.platform) && here(source.architectures, process.arch));
  return { name: spec.name, sources };
}

/** Folders of `native/` that are no part of the addon. */
const NOT_PART = new Set(["test"]);

function addFolder(hash, folder) {
  const entries = readdirSync(folder, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const entry of entries) {
    const path = join(folder, entry.name);
    if (entry.isDirectory() && !NOT_PART.has(entry.name)) addFolder(hash, path);
    else if (entry.isFile()) hash.update(entry.name).update("\0").update(readFileSync(path)).update("\0");
  }
}

/** "linux-x64", "linux-x64-musl", "darwin-arm64", ...: what a compiled addon fits. */
export function platformName() {
  return `${process.platform}-${process.arch}${isMusl() ? "-musl" : ""}`;
}

function isMusl() {
  if (process.platform !== "linux") return false;
  try {
    // A shell script that says whose C library it belongs to, on every distribution.
    return readFileSync("/usr/bin/ldd", "utf8").includes("musl");
  } catch {
    return existsSync("/etc/alpine-release");
  }
}

/** Name of the addon that is built from the sources as they are: another source, another name. */
export function addonFileName(packageFolder, name, recipe) {
  const hash = createHash("sha256").update(recipe);
  addFolder(hash, join(packageFolder, "native"));
  return `${name}-${platformName()}-${hash.digest("hex").slice(0, 16)}.node`;
}

function userCacheFolder() {
  if (process.platform === "win32") return process.env.LOCALAPPDATA ?? join(homedir(), "AppData", "Local");
  if (process.platform === "darwin") return join(homedir(), "Library", "Caches");
  return process.env.XDG_CACHE_HOME || join(homedir(), ".cache");
}

function isWritable(folder) {
  try {
    accessSync(folder, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

/** Where an addon is built and found again: beside its package, or in the user's cache where the package cannot be written. */
export function buildFolder(packageFolder) {
  const own = join(packageFolder, "build");
  if (isWritable(existsSync(own) ? own : packageFolder)) return own;
  return join(userCacheFolder(), "flashlm", "addons");
}

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";
import type { SourceText } from "./rule.js";

/** Root folder of the repository. */
export const ROOT: string = fileURLToPath(new URL("../..", import.meta.url));

const NOT_OURS = new Set(["node_modules", "dist", "build", ".git", ".turbo", "site", "fixtures", "coverage"]);

function walk(folder: string, wanted: RegExp, found: string[]): void {
  if (!existsSync(folder)) return;
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (NOT_OURS.has(entry.name)) continue;
    const path = join(folder, entry.name);
    if (entry.isDirectory()) walk(path, wanted, found);
    else if (wanted.test(entry.name)) found.push(path);
  }
}

/** Files under a folder whose names match, read, sorted by path. */
export function filesUnder(folder: string, wanted: RegExp): SourceText[] {
  const found: string[] = [];
  walk(join(ROOT, folder), wanted, found);
  return found.sort().map((path) => ({
    path: relative(ROOT, path).split(sep).join("/"),
    text: readFileSync(path, "utf8"),
  }));
}

/** A package of the workspace. `folder` is relative to the root. */
export interface WorkspacePackage {
  readonly folder: string;
  readonly name: string;
  readonly manifest: PackageManifest;
  readonly sources: readonly SourceText[];
}

/** The fields of a package.json that rules look at. */
export interface PackageManifest {
  readonly name: string;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

/** Packages under `packages/` and `apps/`. */
export function workspacePackages(): WorkspacePackage[] {
  return ["packages", "apps"].flatMap((group) =>
    readdirSync(join(ROOT, group), { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && existsSync(join(ROOT, group, entry.name, "package.json")))
      .map((entry) => {
        const folder = `${group}/${entry.name}`;
        const manifest: PackageManifest = JSON.parse(
          readFileSync(join(ROOT, folder, "package.json"), "utf8"),
        );
        return {
          folder,
          name: manifest.name,
          manifest,
          sources: filesUnder(`${folder}/src`, /\.(ts|mts|cts|js|mjs)$/),
        };
      }),
  );
}

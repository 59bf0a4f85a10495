import { builtinModules } from "node:module";
import ts from "typescript";
import type { PackageManifest } from "./repository.js";
import type { Finding, SourceText } from "./rule.js";

const CONTRACTS = "@flashlm/contracts";
const APP = "flashlm";

/** True for a package of this repository. */
export function isOurs(name: string): boolean {
  return name === APP || name.startsWith("@flashlm/");
}

/** Package name of an import specifier, or undefined for relative paths and Node's own modules. */
export function packageOf(specifier: string): string | undefined {
  if (/^(\.|\/|#|data:|file:|node:)/.test(specifier)) return undefined;
  const parts = specifier.split("/");
  const name = specifier.startsWith("@") ? parts.slice(0, 2).join("/") : parts[0];
  return name === undefined || builtinModules.includes(name) ? undefined : name;
}

/** Specifiers of all static, dynamic, type and require imports of a file. */
export function importedSpecifiers(text: string): string[] {
  return ts.preProcessFile(text, true, true).importedFiles.map((file) => file.fileName);
}

/** The import table: contracts import nothing of ours, every other package only contracts, the app anything. */
export function mayImport(importer: string, imported: string): boolean {
  if (!isOurs(imported) || importer === APP || importer === imported) return true;
  return importer !== CONTRACTS && imported === CONTRACTS;
}

/** Imports of a package's sources that the table forbids, that leave the package, or that package.json does not name. */
export function checkImports(
  manifest: PackageManifest,
  folder: string,
  sources: readonly SourceText[],
): Finding[] {
  const declared = new Set(
    Object.keys({ ...manifest.dependencies, ...manifest.peerDependencies, ...manifest.optionalDependencies }),
  );
  return sources.flatMap(({ path, text }) =>
    importedSpecifiers(text).flatMap((specifier): Finding[] => {
      if (specifier.startsWith(".")) {
        const target = new URL(specifier, `file:///${path}`).pathname.slice(1);
        return target.startsWith(`${folder}/`)
          ? []
          : [{ path, message: `imports ${specifier}, outside its own package` }];
      }
      const name = packageOf(specifier);
      if (name === undefined || name === manifest.name) return [];
      if (!mayImport(manifest.name, name))
        return [{ path, message: `imports ${name}; ${manifest.name} may import only ${CONTRACTS} of ours` }];
      return declared.has(name)
        ? []
        : [{ path, message: `imports ${name}, which package.json does not name as a dependency` }];
    }),
  );
}

/** Dependencies (not devDependencies) of a manifest that the table forbids. */
export function checkDependencies(manifest: PackageManifest, folder: string): Finding[] {
  const names = Object.keys({
    ...manifest.dependencies,
    ...manifest.peerDependencies,
    ...manifest.optionalDependencies,
  });
  return names
    .filter((name) => !mayImport(manifest.name, name))
    .map((name) => ({
      path: `${folder}/package.json`,
      message: `depends on ${name}; only ${CONTRACTS} of ours is allowed`,
    }));
}

import { existsSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "./repository.js";
import type { Finding, SourceText } from "./rule.js";

/** Built from parts, so that this file does not contain them. */
const FORBIDDEN: readonly { readonly pattern: RegExp; readonly advice: string }[] = [
  { pattern: new RegExp(`\\b${"TO"}DO\\b`), advice: "do it or file an issue" },
  { pattern: new RegExp(`\\bFIX${"ME"}\\b`), advice: "fix it or file an issue" },
  {
    pattern: new RegExp(`\\b(it|test|describe|suite)\\.${"on"}ly\\(`),
    advice: "would leave out all other tests",
  },
];

/** Words that mean unfinished or unchecked work. */
export function checkForbiddenWords({ path, text }: SourceText): Finding[] {
  return text.split("\n").flatMap((line, index) =>
    FORBIDDEN.flatMap(({ pattern, advice }) => {
      const word = pattern.exec(line)?.[0];
      return word === undefined ? [] : [{ path: `${path}:${index + 1}`, message: `${word} ${advice}` }];
    }),
  );
}

/** A markdown page has exactly one first-level heading; fenced code does not count. */
export function checkOneHeading({ path, text }: SourceText): Finding[] {
  const prose = text.replace(/^(```|~~~)[\s\S]*?^\1[^\S\n]*$/gm, "");
  const count = prose.match(/^# \S/gm)?.length ?? 0;
  return count === 1 ? [] : [{ path, message: `${count} first-level headings, expected one` }];
}

/** Relative links of a markdown page that lead nowhere. */
export function checkLinks(
  { path, text }: SourceText,
  exists: (path: string) => boolean = existsInRepository,
): Finding[] {
  const prose = text.replace(/^(```|~~~)[\s\S]*?^\1[^\S\n]*$/gm, "").replace(/`[^`\n]*`/g, "");
  return [...prose.matchAll(/\]\(([^)\s]+)\)/g)].flatMap((match): Finding[] => {
    const link = match[1] ?? "";
    if (/^([a-z]+:|#)/.test(link)) return [];
    const target = decodeURIComponent(new URL(link, `file:///${path}`).pathname.slice(1));
    return exists(target) ? [] : [{ path, message: `link ${link} leads nowhere` }];
  });
}

function existsInRepository(path: string): boolean {
  return existsSync(join(ROOT, path));
}

/** Files that every package has. */
export const REQUIRED_FILES: readonly string[] = [
  "package.json",
  "README.md",
  "src/index.ts",
  "tsup.config.ts",
  "tsconfig.json",
];

/** Required files that a package lacks. */
export function checkRequiredFiles(
  folder: string,
  exists: (path: string) => boolean = existsInRepository,
): Finding[] {
  return REQUIRED_FILES.filter((name) => !exists(`${folder}/${name}`)).map((name) => ({
    path: folder,
    message: `has no ${name}`,
  }));
}

import { describe, expect, test } from "vitest";
import { checkDependencies, checkImports } from "./imports.js";
import { filesUnder, workspacePackages } from "./repository.js";
import { lines } from "./rule.js";
import { checkExportedNames, checkFileLength, checkFunctionLength, checkTopLevelLet } from "./shape.js";
import { checkForbiddenWords, checkLinks, checkOneHeading, checkRequiredFiles } from "./text.js";

const packages = workspacePackages();
const sources = packages.flatMap((part) => part.sources);
const code = ["packages", "apps", "tools"].flatMap((folder) => filesUnder(folder, /\.(ts|mts|mjs|cjs|js)$/));
const guides = filesUnder("docs", /\.md$/);
const pages = [...filesUnder(".", /^(README|ARCHITECTURE|CONTRIBUTING|SECURITY|STYLE)\.md$/), ...guides];

describe("packages", () => {
  test("there is something to look at", () => {
    expect(packages.length).toBeGreaterThanOrEqual(8);
    expect(sources.length).toBeGreaterThan(10);
  });

  test.each(packages)("$name imports only what the table allows", ({ manifest, folder, sources: own }) => {
    expect(lines(checkImports(manifest, folder, own))).toEqual([]);
  });

  test.each(packages)("$name depends only on what the table allows", ({ manifest, folder }) => {
    expect(lines(checkDependencies(manifest, folder))).toEqual([]);
  });

  test.each(packages)("$name has the files every package has", ({ folder }) => {
    expect(lines(checkRequiredFiles(folder))).toEqual([]);
  });
});

describe("code", () => {
  test("files are short", () => {
    expect(lines(code.flatMap(checkFileLength))).toEqual([]);
  });

  test("functions are short", () => {
    expect(lines(code.flatMap(checkFunctionLength))).toEqual([]);
  });

  test("sources keep no top-level state", () => {
    expect(lines(sources.flatMap(checkTopLevelLet))).toEqual([]);
  });

  test("exported names say what and in which unit", () => {
    expect(lines(sources.flatMap(checkExportedNames))).toEqual([]);
  });

  test("nothing is left unfinished", () => {
    expect(lines([...code, ...pages].flatMap(checkForbiddenWords))).toEqual([]);
  });
});

describe("pages", () => {
  test("each has one title", () => {
    expect(lines(pages.flatMap(checkOneHeading))).toEqual([]);
  });

  test("relative links lead somewhere", () => {
    expect(lines(pages.flatMap((page) => checkLinks(page)))).toEqual([]);
  });
});

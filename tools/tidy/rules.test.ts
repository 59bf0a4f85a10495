import { describe, expect, test } from "vitest";
import { checkDependencies, checkImports, importedSpecifiers, mayImport, packageOf } from "./imports.js";
import { checkExportedNames, checkFileLength, checkFunctionLength, checkTopLevelLet } from "./shape.js";
import { checkForbiddenWords, checkLinks, checkOneHeading, checkRequiredFiles } from "./text.js";

const source = (text: string, path = "packages/sample/src/index.ts") => ({ path, text });
const manifest = (name: string, dependencies: Record<string, string> = {}) => ({ name, dependencies });

describe("imports", () => {
  test("sees every form of import", () => {
    const text = `import a from "one"; import type { B } from "two"; export * from "three"; await import("four"); type C = import("five").C;`;
    expect(importedSpecifiers(text).sort()).toEqual(["five", "four", "one", "three", "two"]);
  });

  test("names the package of a specifier", () => {
    expect(["@flashlm/contracts/testing", "commander/esm", "node:fs", "fs", "./a.js"].map(packageOf)).toEqual(
      ["@flashlm/contracts", "commander", undefined, undefined, undefined],
    );
  });

  test.each([
    ["@flashlm/runtime", "@flashlm/contracts", true],
    ["@flashlm/runtime", "@flashlm/kernels", false],
    ["@flashlm/contracts", "@flashlm/runtime", false],
    ["@flashlm/kernels", "flashlm", false],
    ["flashlm", "@flashlm/kernels", true],
    ["@flashlm/runtime", "typescript", true],
  ])("%s importing %s: %s", (importer, imported, allowed) => {
    expect(mayImport(importer, imported)).toBe(allowed);
  });

  test("finds a forbidden, an undeclared and an escaping import", () => {
    const text = `import "@flashlm/kernels";\nimport "commander";\nimport "../../kernels/src/index.js";\nimport "./fine.js";\nimport "@flashlm/contracts";`;
    const declared = manifest("@flashlm/sample", { "@flashlm/contracts": "1", "@flashlm/kernels": "1" });
    const messages = checkImports(declared, "packages/sample", [source(text)]).map(
      (finding) => finding.message,
    );
    expect(messages).toHaveLength(3);
    expect(messages.join("\n")).toMatch(
      /only @flashlm\/contracts[\s\S]*commander[\s\S]*outside its own package|outside its own package/,
    );
  });

  test("finds a forbidden dependency", () => {
    const bad = manifest("@flashlm/runtime", {
      "@flashlm/contracts": "1",
      "@flashlm/kernels": "1",
      other: "1",
    });
    expect(checkDependencies(bad, "packages/runtime").map((finding) => finding.message)).toEqual([
      "depends on @flashlm/kernels; only @flashlm/contracts of ours is allowed",
    ]);
  });
});

describe("shape", () => {
  test("file length: 400 pass, 401 do not", () => {
    expect(checkFileLength(source("x\n".repeat(400)))).toEqual([]);
    expect(checkFileLength(source("x\n".repeat(401)))).toHaveLength(1);
  });

  test.each([
    ["function", (body: string) => `export function long() {${body}}`],
    ["arrow", (body: string) => `const long = () => {${body}};`],
    ["method", (body: string) => `class A { long() {${body}} }`],
  ])("%s length: 70 lines pass, 71 do not", (_kind, wrap) => {
    expect(checkFunctionLength(source(wrap("\n".repeat(69))))).toEqual([]);
    expect(checkFunctionLength(source(wrap("\n".repeat(70))))).toHaveLength(1);
  });

  test("a suite's body is not a function, a test's body is", () => {
    const body = "\n".repeat(80);
    expect(checkFunctionLength(source(`describe("a", () => {${body}});`))).toEqual([]);
    expect(checkFunctionLength(source(`describe.skipIf(x)("a", () => {${body}});`))).toEqual([]);
    expect(
      checkFunctionLength(source(`export function conformance() { describe("a", () => {${body}}); }`)),
    ).toEqual([]);
    expect(checkFunctionLength(source(`test("a", () => {${body}});`))).toHaveLength(1);
  });

  test("top-level let", () => {
    expect(checkTopLevelLet(source("const a = 1; function f() { let b = 1; return b; }"))).toEqual([]);
    expect(checkTopLevelLet(source("declare let a: number;"))).toEqual([]);
    expect(checkTopLevelLet(source("export let a = 1;\nvar b;"))).toHaveLength(2);
  });

  test.each([
    "export const size = 1;",
    "export function f(len: number): void {}",
    "export interface A { readonly timeout: number }",
    "export class A { buf = 1; }",
    "export class A { constructor(readonly cfg: number) {} }",
    "export type A = { ctx: number };",
    "export const f = (ttl: number): number => ttl;",
  ])("bare name: %s", (text) => {
    expect(checkExportedNames(source(text))).toHaveLength(1);
  });

  test.each([
    "export const sizeBytes = 1;",
    "const size = 1; function f(len: number): void {}",
    "export function f(): void { const size = 1; }",
    "export class A { private size = 1; #buf = 2; }",
    "export const table: number[] = [1].map((size) => size);",
  ])("no bare name: %s", (text) => {
    expect(checkExportedNames(source(text))).toEqual([]);
  });
});

describe("text", () => {
  test.each([
    ["// TO", "DO later"],
    ["// FIX", "ME"],
    ["test.on", "ly('a')"],
    ["describe.on", "ly('a')"],
  ])("forbidden: %s%s", (a, b) => {
    expect(checkForbiddenWords(source(`fine\n${a}${b}`))).toEqual([
      expect.objectContaining({ path: "packages/sample/src/index.ts:2" }),
    ]);
  });

  test("words that only look alike", () => {
    expect(checkForbiddenWords(source("const readOnly = 1; list.only; mastodon"))).toEqual([]);
  });

  test("one title", () => {
    expect(checkOneHeading(source("# A\n\n## B\n\n```sh\n# comment\n```\n"))).toEqual([]);
    expect(checkOneHeading(source("## B\n"))).toHaveLength(1);
    expect(checkOneHeading(source("# A\n\n# B\n"))).toHaveLength(1);
  });

  test("links", () => {
    const exists = (path: string) => path === "docs/there.md";
    const text =
      "[a](there.md) [b](there.md#part) [c](https://example.org) [d](#here) `[e](gone.md)` [f](../gone.md)";
    expect(checkLinks(source(text, "docs/page.md"), exists)).toEqual([
      { path: "docs/page.md", message: "link ../gone.md leads nowhere" },
    ]);
  });

  test("required files", () => {
    expect(checkRequiredFiles("packages/x", (path) => !path.endsWith("README.md"))).toEqual([
      { path: "packages/x", message: "has no README.md" },
    ]);
  });
});

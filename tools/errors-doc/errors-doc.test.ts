import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { ERROR_CODES } from "../../packages/contracts/src/errors.js";
// @ts-expect-error -- a plain script without declarations
import { renderErrorsPage } from "./render.mjs";

test("docs/errors.md is what the generator writes (node tools/generate-errors-doc.mjs)", () => {
  const page = readFileSync(new URL("../../docs/errors.md", import.meta.url), "utf8");
  expect(renderErrorsPage(ERROR_CODES)).toBe(page);
});

test("every code stands on the page once", () => {
  const page: string = renderErrorsPage(ERROR_CODES);
  for (const code of ERROR_CODES) expect(page.split(`| \`${code}\` |`)).toHaveLength(2);
});

test("a code without an explanation, and the reverse, is an error", () => {
  expect(() => renderErrorsPage([...ERROR_CODES, "NEW_CODE"])).toThrow("no explanation for NEW_CODE");
  expect(() => renderErrorsPage(ERROR_CODES.slice(1))).toThrow("not in ERROR_CODES");
});

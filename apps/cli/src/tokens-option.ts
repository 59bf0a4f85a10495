import { existsSync, readFileSync } from "node:fs";
import { FlashlmError } from "@flashlm/contracts";

/**
 * Token ids given as `1,2,3` or as a JSON file that holds a list, or an object with `tokens`.
 *
 * @throws ENGINE_OPTION for anything else.
 */
export function parseTokens(text: string): readonly number[] {
  const values: unknown = existsSync(text)
    ? fromFile(text)
    : text.split(",").map((part) => (part.trim() === "" ? Number.NaN : Number(part)));
  if (
    Array.isArray(values) &&
    values.length > 0 &&
    values.every((value) => Number.isInteger(value) && value >= 0)
  )
    return values as number[];
  throw new FlashlmError(
    "ENGINE_OPTION",
    `Expected token ids like 1,2,3 or a JSON file with a list of them but received "${text.slice(0, 80)}".`,
  );
}

function fromFile(path: string): unknown {
  try {
    const parsed: unknown = JSON.parse(readFileSync(path, "utf8"));
    return typeof parsed === "object" && parsed !== null && "tokens" in parsed ? parsed.tokens : parsed;
  } catch (error) {
    throw new FlashlmError(
      "ENGINE_OPTION",
      `Expected ${path} to hold JSON but it cannot be read. Write a list of token ids.`,
      { path },
      error,
    );
  }
}

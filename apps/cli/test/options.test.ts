import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { FlashlmError } from "@flashlm/contracts";
import { afterAll, describe, expect, test } from "vitest";
import { cutWindows } from "../src/commands/perplexity.js";
import { formatBytes, parseMemory } from "../src/memory-option.js";
import { realNumber, wholeNumber } from "../src/options.js";
import { parseTokens } from "../src/tokens-option.js";
import { temporaryFolder } from "./support/cli.js";

const folder = temporaryFolder();
afterAll(folder.dispose);

function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    return FlashlmError.isInstance(error) ? error.code : String(error);
  }
  return "no error";
}

describe("--memory", () => {
  test.each([
    ["60%", 0.6],
    [" 12.5 % ", 0.125],
    ["150%", 1.5],
  ])("%s is a share", (text, share) => {
    expect(parseMemory(text)).toEqual({ kind: "share", share });
  });

  test.each([
    ["2GiB", 2 * 2 ** 30],
    ["2gib", 2 * 2 ** 30],
    ["2G", 2 * 2 ** 30],
    ["2GB", 2e9],
    ["1500MB", 1.5e9],
    ["0.5 GiB", 2 ** 29],
    ["512k", 512 * 1024],
    ["1000000", 1_000_000],
    ["1000000B", 1_000_000],
  ])("%s is bytes", (text, bytes) => {
    expect(parseMemory(text)).toEqual({ kind: "bytes", bytes, automatic: false });
  });

  test("max, and what the machine affords", () => {
    expect(parseMemory("max")).toEqual({ kind: "max" });
    expect(parseMemory(undefined)).toMatchObject({ kind: "bytes", automatic: true });
  });

  test.each(["", "0", "0%", "-1GiB", "60 percent", "GiB", "1e9", "NaN", "2 GiB 3", "1PiB"])(
    "%j is refused",
    (text) => {
      expect(codeOf(() => parseMemory(text))).toBe("ENGINE_OPTION");
    },
  );

  test("bytes for people", () => {
    expect([512, 2048, 3 * 2 ** 20, 2.5 * 2 ** 30].map(formatBytes)).toEqual([
      "512 B",
      "2.0 KiB",
      "3.0 MiB",
      "2.50 GiB",
    ]);
  });
});

describe("token ids", () => {
  const list = join(folder.path, "list.json");
  const object = join(folder.path, "object.json");
  const broken = join(folder.path, "broken.json");
  writeFileSync(list, "[4, 5, 6]");
  writeFileSync(object, '{ "tokens": [7, 8] }');
  writeFileSync(broken, "[1,");

  test("as text, as a list, as an object", () => {
    expect(parseTokens("1,2,3")).toEqual([1, 2, 3]);
    expect(parseTokens(" 1 , 0 ")).toEqual([1, 0]);
    expect(parseTokens(list)).toEqual([4, 5, 6]);
    expect(parseTokens(object)).toEqual([7, 8]);
  });

  test.each(["", "1,,2", "1,x", "-1", "1.5", "no-such-file.json", broken])("%j is refused", (text) => {
    expect(codeOf(() => parseTokens(text))).toBe("ENGINE_OPTION");
  });
});

describe("numbers", () => {
  test("within bounds", () => {
    expect(wholeNumber("--threads", 1, 256)("8")).toBe(8);
    expect(realNumber("--top-p", 0, 1)("0.95")).toBe(0.95);
  });

  test.each(["0", "257", "1.5", "x", ""])("--threads %j is refused", (text) => {
    expect(codeOf(() => wholeNumber("--threads", 1, 256)(text))).toBe("ENGINE_OPTION");
  });

  test.each(["-0.1", "1.1", "x", "", "NaN"])("--top-p %j is refused", (text) => {
    expect(codeOf(() => realNumber("--top-p", 0, 1)(text))).toBe("ENGINE_OPTION");
  });
});

describe("windows of a text", () => {
  test("are whole, and a shorter last one is left out", () => {
    expect(cutWindows([1, 2, 3, 4, 5, 6, 7], 3)).toEqual([
      [1, 2, 3],
      [4, 5, 6],
    ]);
    expect(cutWindows([1, 2, 3], 3)).toEqual([[1, 2, 3]]);
  });

  test("a text shorter than one is one; a single token scores nothing", () => {
    expect(cutWindows([1, 2], 512)).toEqual([[1, 2]]);
    expect(cutWindows([1], 512)).toEqual([]);
    expect(cutWindows([], 512)).toEqual([]);
  });
});

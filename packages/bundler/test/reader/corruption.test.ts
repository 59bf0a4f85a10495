import {
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { FlashlmError } from "@flashlm/contracts";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type BundleDocument, decodeBundleJson, encodeBundleJson } from "../../src/format/bundle-json.js";
import { openBundle, verifyBundle } from "../../src/index.js";
import { withFolder, writeSeeded } from "./seeded.js";

function copyBundle(from: string, to: string): string {
  mkdirSync(to, { recursive: true });
  for (const name of readdirSync(from)) copyFileSync(join(from, name), join(to, name));
  return to;
}

async function codeOf(work: Promise<unknown>): Promise<string | null> {
  try {
    await work;
    return null;
  } catch (error) {
    if (FlashlmError.isInstance(error)) return error.code;
    throw error;
  }
}

function decode(path: string): Record<string, unknown> {
  return decodeBundleJson(readFileSync(join(path, "bundle.json")), path) as Record<string, unknown>;
}

/** Writes a manifest whose checksum is right, whatever it says. */
function encode(path: string, document: Record<string, unknown>): void {
  const { manifestCrc32c: _old, ...rest } = document;
  writeFileSync(join(path, "bundle.json"), encodeBundleJson(rest as unknown as BundleDocument));
}

// biome-ignore lint/suspicious/noExplicitAny: lies are told about every depth of the document.
type Lie = [name: string, code: string, change: (document: any) => void];
const LIES: readonly Lie[] = [
  ["a later version", "BUNDLE_VERSION", (document) => (document.formatVersion = 2)],
  ["an unknown key", "BUNDLE_FORMAT", (document) => (document.extra = 1)],
  ["too many neurons", "BUNDLE_LIMIT", (document) => (document.model.ffn.neuronCount = 2 ** 40)],
  ["a tensor past its file", "BUNDLE_FORMAT", (document) => (document.tensors.at(-1).offsetBytes += 2 ** 30)],
  [
    "overlapping tensors",
    "BUNDLE_FORMAT",
    (document) => (document.tensors[1].offsetBytes = document.tensors[0].offsetBytes),
  ],
  ["an unaligned tensor", "BUNDLE_FORMAT", (document) => (document.tensors[1].offsetBytes += 1)],
  ["a length that its shape has not", "BUNDLE_FORMAT", (document) => (document.tensors[0].lengthBytes += 64)],
  [
    "a smaller vocabulary than its embedding",
    "BUNDLE_FORMAT",
    (document) => (document.model.vocabularySize -= 1),
  ],
  ["a missing tensor", "BUNDLE_FORMAT", (document) => document.tensors.shift()],
  ["another stride", "BUNDLE_FORMAT", (document) => (document.record.strideBytes *= 2)],
  ["a layer past the file", "BUNDLE_FORMAT", (document) => (document.layers[1].offsetBytes += 2 ** 20)],
  ["a layer too few", "BUNDLE_FORMAT", (document) => document.layers.pop()],
  ["a file outside the folder", "BUNDLE_FORMAT", (document) => (document.files[3].name = "../config.json")],
];

describe("a damaged bundle", () => {
  it("is refused when a file is cut or missing", async () => {
    await withFolder(async (folder) => {
      const path = await writeSeeded(folder, "q8_0");
      for (const name of readdirSync(path)) {
        const sizeBytes = statSync(join(path, name)).size;
        for (const keptBytes of new Set([0, 1, Math.floor(sizeBytes / 2), sizeBytes - 1])) {
          const copy = copyBundle(path, join(folder, "copy"));
          truncateSync(join(copy, name), keptBytes);
          const code = await codeOf(openBundle(copy));
          expect(
            ["BUNDLE_TRUNCATED", "BUNDLE_FORMAT", "BUNDLE_CHECKSUM"],
            `${name} at ${keptBytes}: ${code}`,
          ).toContain(code);
        }
      }
      expect(await codeOf(openBundle(join(folder, "none")))).toBe("BUNDLE_NOT_FOUND");
    });
  });

  it("is found out by a flipped bit anywhere", async () => {
    await withFolder(async (folder) => {
      const copy = await writeSeeded(folder, "q4_0");
      for (const name of readdirSync(copy)) {
        const bytes = readFileSync(join(copy, name));
        for (const share of [0, 0.13, 0.37, 0.5, 0.71, 0.93, 1]) {
          const at = Math.floor(share * (bytes.length - 1));
          const damaged = Uint8Array.from(bytes);
          damaged[at]! ^= 4;
          writeFileSync(join(copy, name), damaged);
          expect(await codeOf(verifyBundle(copy)), `${name} at ${at}`).toMatch(/^BUNDLE_/);
        }
        writeFileSync(join(copy, name), bytes);
      }
      expect(await codeOf(verifyBundle(copy))).toBeNull();
    });
  });

  it.each(LIES)("that says %s is refused with %s", async (_name, code, change) => {
    await withFolder(async (folder) => {
      const path = await writeSeeded(folder, "f16");
      const document = decode(path);
      change(document);
      encode(path, document);
      expect(await codeOf(openBundle(path))).toBe(code);
    });
  });

  it("never breaks the reader", async () => {
    await withFolder(async (folder) => {
      const path = await writeSeeded(folder, "q8_0");
      const text = JSON.stringify(decode(path));
      const table = readFileSync(join(path, "checksums.safetensors"));
      const numbers = [...text.matchAll(/\d+/g)];
      const value = fc.constantFrom(
        "0",
        "-1",
        "1.5",
        "1e308",
        "4096",
        "9007199254740993",
        "null",
        '"x"',
        "[]",
        "{}",
        "true",
      );
      await fc.assert(
        fc.asyncProperty(fc.nat(numbers.length - 1), value, async (at, replacement) => {
          const match = numbers[at]!;
          let changed: Record<string, unknown>;
          try {
            changed = JSON.parse(
              text.slice(0, match.index) + replacement + text.slice(match.index + match[0].length),
            );
          } catch {
            return;
          }
          encode(path, changed);
          await codeOf(openBundle(path));
        }),
        { numRuns: 300, seed: 7 },
      );
      encode(path, JSON.parse(text));
      await fc.assert(
        fc.asyncProperty(fc.nat(table.length - 1), fc.integer({ min: 1, max: 255 }), async (at, mask) => {
          const damaged = Uint8Array.from(table);
          damaged[at]! ^= mask;
          writeFileSync(join(path, "checksums.safetensors"), damaged);
          expect(await codeOf(openBundle(path))).toBe("BUNDLE_CHECKSUM");
        }),
        { numRuns: 50, seed: 8 },
      );
    });
  }, 10_000);
});

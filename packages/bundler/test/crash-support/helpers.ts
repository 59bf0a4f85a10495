import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { WeightDtype } from "@flashlm/contracts";
import { openCheckpoint, type WriteBundleOptions, writeBundle } from "../../src/index.js";

/** Folder of fixtures beside the project. */
export const FIXTURES: string = fileURLToPath(new URL("../../../../../shared/fixtures", import.meta.url));
/** A few MB of f32 weights, with a tokenizer. */
export const SOURCE: string = join(FIXTURES, "gguf/types-F32.gguf");
/** Without the fixtures or the built package these tests cannot run. */
export const CAN_RUN: boolean =
  existsSync(SOURCE) && existsSync(fileURLToPath(new URL("../../dist/index.js", import.meta.url)));

const CHILD = fileURLToPath(new URL("child.mjs", import.meta.url));

/** What the child reports; null when it was killed. */
export interface ChildResult {
  readonly code: string | null;
  readonly stepCount: number;
  readonly events: readonly number[];
  readonly growthBytes: number;
}

/** Runs the child script with a job. */
export function runChild(job: object): Promise<{ result: ChildResult | null; signal: string | null }> {
  return new Promise((done, fail) => {
    const child = spawn(process.execPath, [CHILD, JSON.stringify(job)], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let text = "";
    child.stdout.on("data", (chunk) => {
      text += chunk;
    });
    child.on("error", fail);
    child.on("close", (_code, signal) =>
      done({ result: text === "" ? null : (JSON.parse(text) as ChildResult), signal }),
    );
  });
}

/** SHA-256 of every file of a folder by name, or null where there is no folder. */
export function digestFolder(path: string): Record<string, string> | null {
  if (!existsSync(path)) return null;
  const entries = readdirSync(path)
    .sort()
    .map((name) => [
      name,
      createHash("sha256")
        .update(readFileSync(join(path, name)))
        .digest("hex"),
    ]);
  return Object.fromEntries(entries) as Record<string, string>;
}

/** A new folder for a test. */
export function scratchFolder(): string {
  return mkdtempSync(join(tmpdir(), "flashlm-crash-"));
}

/** Seeded numbers from 0 to before 1 (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** One seeded step from each of `pointCount` equal stretches of 1 to `stepCount`. */
export function killSteps(stepCount: number, pointCount: number, seed: number): number[] {
  const random = seededRandom(seed);
  return Array.from(
    { length: pointCount },
    (_none, point) => 1 + Math.floor(((point + random()) * stepCount) / pointCount),
  );
}

/** A seeded permutation of 0 to before `count`. */
export function shuffled(count: number, seed: number): number[] {
  const random = seededRandom(seed);
  const values = Array.from({ length: count }, (_none, index) => index);
  for (let at = count - 1; at > 0; at--) {
    const other = Math.floor(random() * (at + 1));
    [values[at], values[other]] = [values[other]!, values[at]!];
  }
  return values;
}

/** Writes a bundle in this process. */
export async function writeHere(
  job: WriteBundleOptions & { readonly source: string; readonly dtype: WeightDtype },
): Promise<void> {
  const checkpoint = await openCheckpoint(job.source);
  try {
    await writeBundle(checkpoint, job);
  } finally {
    checkpoint.close();
  }
}

import { cpSync, existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openBundle, rewriteOrder, verifyBundle } from "../src/index.js";
import {
  CAN_RUN,
  digestFolder,
  FIXTURES,
  killSteps,
  runChild,
  SOURCE,
  scratchFolder,
  shuffled,
  writeHere,
} from "./crash-support/helpers.js";

const SEED = 20_261_123;
const folder = scratchFolder();
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe.skipIf(!CAN_RUN)("a bundler killed with SIGKILL", () => {
  const job = { action: "write", source: SOURCE, dtype: "q8_0" as const, contentHash: "0".repeat(64) };
  let expected: Record<string, string> | null = null;
  let stepCount = 0;

  beforeAll(async () => {
    const outPath = join(folder, "whole");
    const { result } = await runChild({ ...job, outPath });
    expect(result?.code).toBe(null);
    stepCount = result!.stepCount;
    expected = digestFolder(outPath);
    await verifyBundle(outPath);
  });

  test("leaves nothing or a whole bundle at 20 moments, and the next run ends with the same bytes", async () => {
    const seen = { nothing: 0, whole: 0 };
    for (const killStep of killSteps(stepCount, 20, SEED)) {
      const outPath = join(folder, `killed-${killStep}`);
      const { result, signal } = await runChild({ ...job, outPath, killStep });
      expect([signal, result], `step ${killStep}`).toEqual(["SIGKILL", null]);
      const left = digestFolder(outPath);
      if (left === null) seen.nothing++;
      else {
        seen.whole++;
        expect(left, `step ${killStep}`).toEqual(expected);
      }
      await writeHere({ ...job, outPath });
      expect(digestFolder(outPath), `step ${killStep}`).toEqual(expected);
      rmSync(outPath, { recursive: true });
    }
    expect(seen.nothing).toBeGreaterThan(0);
    expect(readdirSync(folder).filter((name) => name.startsWith("killed-"))).toEqual([]);
  });

  test("replaces a bundle: the old one, nothing for a moment, or the new one is there", async () => {
    const outPath = join(folder, "replaced");
    const oldPath = join(folder, "old");
    await writeHere({ ...job, outPath: oldPath, dtype: "f16" });
    cpSync(oldPath, outPath, { recursive: true });
    const old = digestFolder(outPath);
    const { result } = await runChild({ ...job, outPath });
    for (let killStep = result!.stepCount - 7; killStep <= result!.stepCount; killStep++) {
      rmSync(outPath, { recursive: true, force: true });
      cpSync(oldPath, outPath, { recursive: true });
      await runChild({ ...job, outPath, killStep });
      const left = digestFolder(outPath);
      if (left !== null) expect([old, expected], `step ${killStep}`).toContainEqual(left);
      await writeHere({ ...job, outPath });
      expect(digestFolder(outPath)).toEqual(expected);
      expect(readdirSync(folder).filter((name) => name.startsWith("replaced"))).toEqual(["replaced"]);
    }
  });
});

describe.skipIf(!CAN_RUN)("a rewrite of the order killed with SIGKILL", () => {
  test("leaves the old bundle or the new one, and the next run ends with the same bytes", async () => {
    const source = join(FIXTURES, "gguf/types-Q8_0.gguf");
    const outPath = join(folder, "ordered");
    const make = async (): Promise<void> => {
      rmSync(outPath, { recursive: true, force: true });
      cpSync(oldPath, outPath, { recursive: true });
    };
    const oldPath = join(folder, "unordered");
    await writeHere({ source, dtype: "q8_0", contentHash: "0".repeat(64), outPath: oldPath });
    await make();
    const { manifest } = await openBundle(outPath);
    const order = manifest.layers.map(({ neuronCount }, layer) => shuffled(neuronCount, SEED + layer));
    const activeShareByLayer = manifest.layers.map(() => 0.5);
    const calibration = { text: "seeded", tokenCount: 3, activeShareByLayer, gateThresholds: {} };
    const job = { action: "rewrite", outPath, order, calibration };
    const old = digestFolder(outPath);
    const { result } = await runChild(job);
    expect(result?.code).toBe(null);
    const expected = digestFolder(outPath);
    await verifyBundle(outPath);
    const last = result!.stepCount;
    for (const killStep of [
      ...killSteps(last - 6, 5, SEED),
      last - 5,
      last - 4,
      last - 3,
      last - 2,
      last - 1,
    ]) {
      await make();
      const { signal } = await runChild({ ...job, killStep });
      expect(signal, `step ${killStep}`).toBe("SIGKILL");
      const left = digestFolder(outPath);
      if (left !== null) expect([old, expected], `step ${killStep}`).toContainEqual(left);
      if (JSON.stringify(left) === JSON.stringify(expected)) continue;
      await rewriteOrder(outPath, { order: order.map((indices) => Uint32Array.from(indices)), calibration });
      expect(digestFolder(outPath), `step ${killStep}`).toEqual(expected);
    }
    expect(existsSync(`${outPath}.rewrite`)).toBe(false);
  });
});

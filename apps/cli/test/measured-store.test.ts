import type { BundleIndex, GeneratorReport } from "@flashlm/contracts";
import { afterAll, beforeAll, expect, it } from "vitest";
import { loadLookAhead, saveLookAhead } from "../src/measured-store.js";
import { temporaryFolder } from "./support/cli.js";

const home = temporaryFolder();
const before = process.env.FLASHLM_HOME;
beforeAll(() => {
  process.env.FLASHLM_HOME = home.path;
});
afterAll(() => {
  if (before === undefined) delete process.env.FLASHLM_HOME;
  else process.env.FLASHLM_HOME = before;
  home.dispose();
});

const bundle = { manifest: { source: { contentHash: "made" }, dtype: "f32" } } as unknown as BundleIndex;
const reportOf = (early: number, used: number, late: number): GeneratorReport =>
  ({
    decodeRecordsRead: early - 50 + late,
    lookAhead: { recordCount: early, usedCount: used, cancelledCount: 50, stopCount: 0 },
  }) as GeneratorReport;

it("keeps what became of early reads, by predictor; too few of them, or none of use, say nothing", () => {
  expect(loadLookAhead(bundle, "lowrank")).toBeNull();
  saveLookAhead(bundle, "lowrank", reportOf(100, 90, 10));
  saveLookAhead(bundle, "lowrank", reportOf(1000, 0, 100));
  saveLookAhead(bundle, "lowrank", { decodeRecordsRead: 10 } as GeneratorReport);
  expect(loadLookAhead(bundle, "lowrank")).toBeNull();
  // 600 of 1000 were wanted, and 200 more that nobody guessed.
  saveLookAhead(bundle, "lowrank", reportOf(1000, 600, 200));
  expect(loadLookAhead(bundle, "lowrank")).toMatchObject({ usedShare: 0.6, guessedShare: 0.75 });
  expect(loadLookAhead(bundle, "lowrank:0.02")).toBeNull();
});

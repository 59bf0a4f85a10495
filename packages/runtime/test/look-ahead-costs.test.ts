import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseSparsity } from "@flashlm/predictor";
import { forecastToken, planEngine, type TokenForecast } from "@flashlm/runtime";
import { describe, expect, it } from "vitest";
import type { LookAheadShares } from "../src/cost-model/look-ahead-costs.js";
import { partsOf } from "./support/engines.js";
import { fixture } from "./support/fixtures.js";
import { bundleWithHeads } from "./support/heads.js";

const checkpoint = fixture("families/llama-relu");

describe.skipIf(checkpoint === null)("a forecast with look-ahead", () => {
  it("counts what is read in vain and what the guesses cost, and waits less the more is guessed", async () => {
    const folder = mkdtempSync(join(tmpdir(), "flashlm-ahead-"));
    const bundle = await bundleWithHeads(checkpoint!, folder);
    rmSync(folder, { recursive: true });
    const predictor = parseSparsity("lowrank", { lookAhead: true });
    const memoryBytes = Math.floor(1.6 * bundle.weightBytes);
    const options = { memoryBytes, contextLength: 64, threadCount: 1 };
    const plan = planEngine(partsOf(bundle, { parts: { predictor } }), options);
    expect(Math.min(...plan.slotCountByLayer)).toBeGreaterThan(0);
    /** A megabyte a second, whatever the length. */
    const bytesPerSecond = 1e6;
    const device = {
      chunkBytes: [4096],
      depths: [1],
      cells: [],
      sequential: { chunkBytes: 4096, depth: 1, bytesPerSecond },
      copyBytesPerSecond: 1e10,
    };
    const kernel = {
      target: "wasm",
      threadCount: 1,
      layerMs: 1000,
      positionMs: 0,
      activationMs: 1e-3,
      downMs: 1e-3,
      flightMs: 0,
      headMs: 0,
      scoreBytesPerSecond: 1e6,
    };
    const reader = { inFlightMax: 32, alignmentBytes: 1 };
    const given = { bundle, plan, demand: null, device, kernel, reader, positionCount: 1 };
    const ahead = (lookAheadShares: LookAheadShares | null): TokenForecast =>
      forecastToken({ ...given, predictor, lookAheadShares });
    const none = forecastToken({ ...given, predictor: parseSparsity("lowrank") });
    const right = ahead({ guessedShare: 1, usedShare: 1 });
    const wasteful = ahead({ guessedShare: 1, usedShare: 0.5 });
    const half = ahead({ guessedShare: 0.5, usedShare: 1 });
    expect(wasteful.readBytes).toBeGreaterThan(right.readBytes);
    expect(wasteful.cacheMs).toBeGreaterThan(right.cacheMs);
    expect(right.computeMs).toBeGreaterThan(none.computeMs);
    expect(right.ioWaitMs).toBeLessThan(half.ioWaitMs);
    expect(half.ioWaitMs).toBeLessThan(none.ioWaitMs);
    expect(right.assumptions).toHaveLength(none.assumptions.length);
    expect(ahead(null).assumptions).toHaveLength(none.assumptions.length + 1);
  });
});

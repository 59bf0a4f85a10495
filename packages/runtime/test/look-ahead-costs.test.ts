import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseSparsity } from "@flashlm/predictor";
import { forecastToken, planEngine, type TokenForecast } from "@flashlm/runtime";
import { describe, expect, it } from "vitest";
import type { LayerCost } from "../src/cost-model/layer-cost.js";
import { type LookAheadShares, sparseWaitMs } from "../src/cost-model/look-ahead-costs.js";
import { partsOf } from "./support/engines.js";
import { fixture } from "./support/fixtures.js";
import { bundleWithHeads } from "./support/heads.js";

/** 1 ms before the neurons are known, 2 ms of FFN, half of it for hits. */
const plain: LayerCost = {
  namedCount: 100,
  hitCount: 50,
  lateIoMs: 0,
  blockIoMs: 0,
  earlyIoMs: 0,
  readBytes: 0,
  beforeMs: 1,
  guessMs: 0,
  hitMs: 1,
  ffnMs: 2,
  cacheMs: 0,
};

/** The engine's steps one by one, with a device that serves one batch after another. */
function simulate(layers: readonly LayerCost[]): number {
  let now = 0;
  let deviceFree = 0;
  let waited = 0;
  let earlyLands = 0;
  const waitUntil = (moment: number): void => {
    waited += Math.max(0, moment - now);
    now = Math.max(now, moment);
  };
  for (const [index, layer] of layers.entries()) {
    now += layer.beforeMs;
    if (layer.earlyIoMs > 0) waitUntil(earlyLands);
    deviceFree = Math.max(deviceFree, now) + layer.lateIoMs;
    const lateLands = deviceFree;
    now += layer.guessMs;
    const next = layers[index + 1];
    if (next && next.earlyIoMs > 0) {
      deviceFree = Math.max(deviceFree, now) + next.earlyIoMs;
      earlyLands = deviceFree;
    }
    now += layer.hitMs;
    waitUntil(lateLands);
    now += layer.ffnMs - layer.hitMs;
  }
  return waited;
}

describe("waiting for records", () => {
  it("is all that hits do not hide where nothing is read early", () => {
    const layers = [plain, { ...plain, lateIoMs: 4 }, { ...plain, lateIoMs: 0.5 }];
    expect(sparseWaitMs(layers)).toBeCloseTo(3, 12);
    expect(simulate(layers)).toBeCloseTo(3, 12);
  });

  it("is nothing where early reads are done within the FFN and the attention before them", () => {
    const layers = [
      { ...plain, guessMs: 0.2 },
      { ...plain, earlyIoMs: 3 },
    ];
    expect(sparseWaitMs(layers)).toBe(0);
    expect(sparseWaitMs([layers[0]!, { ...plain, earlyIoMs: 3.5 }])).toBeCloseTo(0.5, 12);
  });

  it("is what the device cannot read ahead of streamed blocks within a layer's time, and never less than late reads take", () => {
    const streamed = { ...plain, blockIoMs: 5 };
    expect(sparseWaitMs([streamed, streamed])).toBeCloseTo(4, 12);
    expect(sparseWaitMs([{ ...plain, blockIoMs: 2.5 }])).toBe(0);
    // Late reads of 4 ms hide 1 ms; the blocks have the other 3 ms as well.
    expect(sparseWaitMs([{ ...plain, lateIoMs: 4, blockIoMs: 1 }])).toBeCloseTo(3, 12);
    expect(sparseWaitMs([{ ...plain, lateIoMs: 4, blockIoMs: 5 }])).toBeCloseTo(6, 12);
  });

  it("is that of a simulated engine with one device, for layers of every kind", () => {
    const values = [0, 0.3, 1, 2.5, 6];
    for (let pick = 0; pick < 5 ** 4; pick++) {
      const at = (place: number): number => values[Math.floor(pick / 5 ** place) % 5]!;
      const layers = [
        { ...plain, lateIoMs: at(0), guessMs: 0.2 },
        { ...plain, lateIoMs: at(1), earlyIoMs: at(2), guessMs: 0.2 },
        { ...plain, lateIoMs: at(0), earlyIoMs: at(3) },
      ];
      expect(sparseWaitMs(layers), JSON.stringify(layers)).toBeCloseTo(simulate(layers), 9);
    }
  });
});

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

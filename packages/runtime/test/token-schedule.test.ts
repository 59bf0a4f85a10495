import { describe, expect, it } from "vitest";
import type { LayerCost } from "../src/cost-model/layer-cost.js";
import { type RingCost, sparseWaitMs } from "../src/cost-model/token-schedule.js";

/** 1 ms before the neurons are known, 2 ms of FFN, half of it for hits. */
const plain: LayerCost = {
  namedCount: 100,
  hitCount: 50,
  lateIoMs: 0,
  earlyIoMs: 0,
  attentionIoMs: 0,
  predictorIoMs: 0,
  isAttentionKept: false,
  readBytes: 0,
  attendMs: 0.5,
  scoreMs: 0.5,
  guessMs: 0,
  hitMs: 1,
  ffnMs: 2,
  cacheMs: 0,
};
const resident: RingCost = { bufferCount: 0, tileCount: 1, tileIoMs: 0, tileMs: 0 };
const ring: RingCost = { ...resident, bufferCount: 3 };
const late = (ms: number): LayerCost => ({ ...plain, lateIoMs: ms });
const early = (ms: number): LayerCost => ({ ...plain, earlyIoMs: ms });

describe("waiting for records", () => {
  it("is all that hits do not hide where nothing is read early", () => {
    expect(sparseWaitMs([plain, late(4), late(0.5)], resident)).toBeCloseTo(3, 12);
  });

  it("is nothing where early reads end before the next layer's hits are computed", () => {
    // From the guess on: 2 ms of the FFN, 1 ms until the neurons are known, 1 ms of hits.
    expect(sparseWaitMs([plain, early(4)], resident)).toBeCloseTo(0, 12);
    expect(sparseWaitMs([plain, early(4.5)], resident)).toBeCloseTo(0.5, 12);
  });
});

describe("waiting for streamed blocks", () => {
  it("is what the device cannot do in a token's time where every layer has one", () => {
    const streamed = { ...plain, attentionIoMs: 5 };
    expect(sparseWaitMs([streamed, streamed, streamed, streamed], ring)).toBeCloseTo(8, 12);
    const both = { ...late(1), attentionIoMs: 3, predictorIoMs: 2 };
    expect(sparseWaitMs([both, both, both, both], ring)).toBeCloseTo(12, 12);
  });

  it("is nothing where layers without blocks leave the time", () => {
    expect(sparseWaitMs([plain, { ...plain, attentionIoMs: 5 }, plain], ring)).toBe(0);
    expect(sparseWaitMs([plain, { ...plain, attentionIoMs: 10 }, plain], ring)).toBeCloseTo(1, 12);
  });

  it("is for the tiles of a head that buffers cannot hold while the layers are computed", () => {
    const head = { bufferCount: 2, tileCount: 4, tileIoMs: 2, tileMs: 0.5 };
    expect(sparseWaitMs([plain, plain, plain, plain], head)).toBeCloseTo(3, 12);
  });

  it("makes a token neither shorter than the device's work nor longer than all of it one after the other", () => {
    const values = [0, 0.4, 1.3, 4];
    for (let pick = 0; pick < 4 ** 5; pick++) {
      const at = (place: number): number => values[Math.floor(pick / 4 ** place) % 4]!;
      const layers = [
        { ...late(at(0)), attentionIoMs: at(1), isAttentionKept: pick % 2 === 0 },
        { ...early(at(2)), predictorIoMs: at(3) },
        { ...late(at(2)), earlyIoMs: at(4), attentionIoMs: at(1), guessMs: 0.2 },
      ];
      const waitMs = sparseWaitMs(layers, ring);
      const computeMs = 3 * 3 + 0.2;
      const deviceMs = at(0) + 2 * at(1) + 2 * at(2) + at(3) + at(4);
      const leastMs = Math.max(0, deviceMs - computeMs);
      expect(waitMs, JSON.stringify(layers)).toBeGreaterThanOrEqual(leastMs - 1e-9);
      expect(waitMs, JSON.stringify(layers)).toBeLessThanOrEqual(deviceMs + 1e-9);
    }
  });
});

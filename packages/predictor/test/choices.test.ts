import type { BundleHead, BundleHeads } from "@flashlm/contracts";
import { describe, expect, it } from "vitest";
import {
  densePredictor,
  gateShadowPredictor,
  losslessChoices,
  lowRankPredictor,
  oraclePredictor,
  predictorChoices,
  sharesKnown,
} from "../src/index.js";
import { fakeManifest, type ModelOptions } from "./fake-kernels.js";

/** Of 1000 neurons 100 are active; 10 of them are missed and 90 others are predicted. */
const point = {
  missedTarget: 0.01,
  threshold: 0,
  predictedShare: 0.18,
  falseNegativeShare: 0.1,
  falsePositiveShare: 0.1,
  missedShare: 0.01,
};
const head = (layerIndex: number): BundleHead => ({
  layerIndex,
  rank: 3,
  points: [point, { ...point, missedTarget: 0.04, predictedShare: 0.06, falsePositiveShare: 0.01 }],
});
const heads: BundleHeads = {
  text: "",
  tokenCount: 1,
  heldOutTokenCount: 1,
  lowrank: [head(0), head(1)],
  lookahead: [head(0)],
};
const silu = { activation: { name: "silu", threshold: 0 } } as const;
const names = (options: ModelOptions): string[] =>
  predictorChoices(fakeManifest(options)).map(({ sparsity }) => sparsity);

describe("predictorChoices", () => {
  it("names what the bundle has all tensors for", () => {
    expect(names({})).toEqual(["dense", "oracle", "gate-shadow:0.1", "shadow:0.6"]);
    const trained = ["lowrank:0.01", "lookahead:0.01"];
    expect(names({ heads })).toEqual(["dense", "oracle", "gate-shadow:0.1", "shadow:0.6", ...trained]);
    expect(names({ heads: { ...heads, lookahead: [] } }).at(-1)).toBe("lowrank:0.01");
    expect(names({ tensorNames: [] })).toEqual(["dense"]);
    expect(names({ ffn: silu, heads })).toEqual(["dense", "shadow:0.6", ...trained]);
  });

  it("names calibrated gate thresholds, and imported heads without a number", () => {
    const calibration = {
      text: "",
      tokenCount: 1,
      activeShareByLayer: [0.5, 0.5],
      gateThresholds: { "0.5": [0.1, 0.1], "0.7": [0, 0] },
    };
    expect(names({ ffn: silu, calibration })).toEqual(["dense", "shadow:0.6", "gate:0.5", "gate:0.7"]);
    const imported = { ...heads, lowrank: heads.lowrank.map((one) => ({ ...one, points: [] })) };
    expect(names({ tensorNames: [], heads: imported })).toEqual(["dense", "lowrank", "lookahead"]);
  });
});

describe("losslessChoices", () => {
  const lossless = (options: ModelOptions): string[] =>
    losslessChoices(fakeManifest(options)).map(({ sparsity }) => sparsity);

  it("are exact prediction where zeros are exact and the bundle can tell them, and dense", () => {
    expect(lossless({ heads })).toEqual(["oracle", "dense"]);
    expect(lossless({ heads, tensorNames: ["shadow.gate.weight"] })).toEqual(["dense"]);
    expect(lossless({ ffn: silu, heads })).toEqual(["dense"]);
  });

  it("have known shares where a calibration or trained heads tell them", () => {
    expect(sharesKnown(fakeManifest({}), oraclePredictor)).toBe(false);
    expect(sharesKnown(fakeManifest({ heads }), oraclePredictor)).toBe(true);
    expect(sharesKnown(fakeManifest({}), densePredictor)).toBe(true);
    expect(sharesKnown(fakeManifest({ heads }), gateShadowPredictor(0.1))).toBe(false);
  });
});

describe("expected shares", () => {
  it("of trained heads are those of the held-out tokens, between points over the logarithm", () => {
    const manifest = fakeManifest({ heads });
    const share = (missedShare: number): number =>
      lowRankPredictor({ missedShare }).expectedShare!(manifest, 1)!;
    expect(share(0.01)).toBe(0.18);
    expect(share(0.04)).toBe(0.06);
    expect(share(0.02)).toBeCloseTo(0.12, 12);
    expect(lowRankPredictor({ head: "lookahead", missedShare: 0.01 }).expectedShare!(manifest, 1)).toBe(0.18);
    const imported = { ...heads, lowrank: heads.lowrank.map((one) => ({ ...one, points: [] })) };
    expect(lowRankPredictor().expectedShare!(fakeManifest({ heads: imported }), 0)).toBeNull();
  });

  it("of the oracle are calibrated, or follow from a trained head's shares", () => {
    expect(oraclePredictor.expectedShare!(fakeManifest({ heads }), 0)).toBeCloseTo(0.1, 12);
    expect(oraclePredictor.expectedShare!(fakeManifest({}), 0)).toBeNull();
    const calibration = { text: "", tokenCount: 1, activeShareByLayer: [0.3, 0.4], gateThresholds: {} };
    expect(oraclePredictor.expectedShare!(fakeManifest({ heads, calibration }), 1)).toBe(0.4);
  });
});

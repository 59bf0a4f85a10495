import { predictorConformance } from "@flashlm/contracts/testing";
import { densePredictor, gateThresholdPredictor, oraclePredictor, shadowPredictor } from "../src/index.js";
import { fakeContext } from "./fake-kernels.js";

const calibration = {
  text: "",
  tokenCount: 1,
  activeShareByLayer: [1, 1],
  gateThresholds: { "0.5": [0.3, 0.4] },
};
const silu = { activation: { name: "silu", threshold: 0 } } as const;

predictorConformance({
  name: "dense",
  part: densePredictor,
  createContext: () => fakeContext({ tensorNames: [] }),
});
predictorConformance({ name: "oracle", part: oraclePredictor, createContext: () => fakeContext() });
predictorConformance({
  name: "oracle with ReLU on up",
  part: oraclePredictor,
  createContext: () => fakeContext({ ffn: { upActivation: "relu" } }),
});
predictorConformance({
  name: "shadow",
  part: shadowPredictor(0.4),
  createContext: () => fakeContext({ ffn: silu }),
});
predictorConformance({
  name: "gate threshold",
  part: gateThresholdPredictor({ keptShare: 0.5 }),
  createContext: () => fakeContext({ ffn: silu, calibration }),
});
predictorConformance({
  name: "gate margin",
  part: gateThresholdPredictor({}),
  createContext: () => fakeContext(),
});

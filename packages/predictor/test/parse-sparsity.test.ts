import { FlashlmError } from "@flashlm/contracts";
import { describe, expect, it } from "vitest";
import { densePredictor, oraclePredictor, parseSparsity } from "../src/index.js";

describe("parseSparsity", () => {
  it("reads every form", () => {
    expect(parseSparsity("dense")).toBe(densePredictor);
    expect(parseSparsity("oracle")).toBe(oraclePredictor);
    expect(parseSparsity("shadow:0.6").name).toBe("shadow:0.6");
    expect(parseSparsity("shadow:.5").name).toBe("shadow:0.5");
    expect(parseSparsity("gate:1").name).toBe("gate:1");
    expect(parseSparsity("gate-shadow:0.1").name).toBe("gate-shadow:0.1");
    expect(parseSparsity("gate-shadow:0").name).toBe("gate-shadow:0");
    expect(parseSparsity("lowrank").name).toBe("lowrank");
    expect(parseSparsity("lowrank:0.01").name).toBe("lowrank:0.01");
    expect(parseSparsity("lookahead:.05").name).toBe("lookahead:0.05");
  });

  it.each([
    "",
    "Dense",
    "shadow",
    "shadow:",
    "shadow:x",
    "shadow:1e-1",
    "gate:-0.5",
    "gate: 0.5",
    "top:0.5",
    "shadow:0.5:1",
    "gate-shadow",
    "oracle:1",
    "constructor",
    "lowrank:",
  ])("refuses %j and lists the choices", (text) => {
    expect(() => parseSparsity(text)).toThrow(/dense, oracle, shadow:KEPT, gate:KEPT/);
  });

  it.each(["shadow:0", "gate:1.5", "shadow:2", "lowrank:0", "lookahead:1"])(
    "refuses the share of %s",
    (text) => {
      try {
        parseSparsity(text);
        expect.unreachable();
      } catch (error) {
        expect(FlashlmError.isInstance(error) && error.code).toBe("PREDICTOR_OPTION");
      }
    },
  );
});

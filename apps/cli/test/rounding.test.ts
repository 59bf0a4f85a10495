import { readdirSync } from "node:fs";
import { join } from "node:path";
import { openBundle } from "@flashlm/bundler";
import { afterAll, describe, expect, test } from "vitest";
import { fixture, flashlm, readFloats, temporaryFolder } from "./support/cli.js";

const model = fixture("families/llama");
const folder = temporaryFolder();
const home = join(folder.path, "home");
afterAll(folder.dispose);

const TOKENS = "5,17,44,9,60,3,77,120,31,8,54,201,7,19,90,66";

describe.skipIf(model === null)("flashlm bundle --dtype q4_0", () => {
  test("measures inputs first, says so, leaves nothing beside the bundle, and is nearer to the model than nearest levels", async () => {
    const bundles = join(folder.path, "bundles");
    const logits: Record<string, Float32Array> = {};
    for (const [name, flags] of [
      ["exact", ["--dtype", "f32"]],
      ["measured", ["--dtype", "q4_0"]],
      ["nearest", ["--dtype", "q4_0", "--rounding", "nearest"]],
    ] as const) {
      const out = join(bundles, name);
      expect((await flashlm(home, ["bundle", model!, "--out", out, ...flags])).code).toBe(0);
      const file = join(folder.path, `${name}.safetensors`);
      expect((await flashlm(home, ["logits", out, "--tokens", TOKENS, "--out", file])).code).toBe(0);
      logits[name] = readFloats(file, "logits").values;
      const { lossy } = (await openBundle(out)).manifest;
      expect(lossy.some((line) => line.includes("rounded by measured inputs"))).toBe(name === "measured");
    }
    expect(readdirSync(bundles).sort()).toEqual(["exact", "measured", "nearest"]);
    const distance = (name: string): number =>
      logits[name]!.reduce((sum, value, index) => sum + (value - logits.exact![index]!) ** 2, 0);
    expect(distance("measured")).toBeGreaterThan(0);
    expect(distance("measured")).toBeLessThan(distance("nearest"));
  });
});

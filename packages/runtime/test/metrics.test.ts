import { join } from "node:path";
import { METRIC_NAMES, type MetricName } from "@flashlm/contracts";
import { describe, expect, it } from "vitest";
import { bundleInto, engineOf, greedy } from "./support/engines.js";
import { type Expected, fixture, readJson, temporaryFolder } from "./support/fixtures.js";

const path = fixture("families/llama-relu");

describe.skipIf(path === null)("a metrics sink", () => {
  it("receives what the report says", async () => {
    const folder = temporaryFolder();
    const counts = new Map<MetricName, number>();
    const count = (name: MetricName, amount: number): void =>
      void counts.set(name, (counts.get(name) ?? 0) + amount);
    const bundle = await bundleInto(path!, folder.path, "f32");
    const { prompt } = readJson<Expected>(join(path!, "expected.json"));
    const engine = await engineOf(bundle, {
      sparsity: "oracle",
      options: { metrics: { count } },
    });
    try {
      await greedy(engine, prompt, 20);
      const report = engine.report();
      expect([...counts.keys()].sort()).toEqual([...METRIC_NAMES].sort());
      // The first of the 20 tokens comes from the prompt's logits.
      expect(report.decodeTokens).toBe(19);
      expect(counts.get("decode.token_count")).toBe(19);
      expect(counts.get("flash.read_bytes")).toBe(report.decodeReadBytes);
      expect(counts.get("cache.hit_count")! + counts.get("cache.miss_count")!).toBe(report.recordCount);
      expect(counts.get("decode.token_ms")).toBeCloseTo(report.decodeMs, 6);
    } finally {
      await engine.close();
      folder.dispose();
    }
  });
});

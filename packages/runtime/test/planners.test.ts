import { join } from "node:path";
import type { ReadPlanner } from "@flashlm/contracts";
import { createReadPlanner, type ReadPlannerOptions } from "@flashlm/flash-io";
import { planEngine } from "@flashlm/runtime";
import { afterAll, describe, expect, it } from "vitest";
import { bundleInto, engineOf, greedy, halfSlotsBytes, type Mix, partsOf } from "./support/engines.js";
import { type Expected, fixture, readJson, temporaryFolder } from "./support/fixtures.js";

const STEPS = 128;
const path = fixture("families/llama-relu");

/** Planners that want more of the staging than an engine in little memory has. */
const PLANNERS: readonly { readonly name: string; readonly options: ReadPlannerOptions }[] = [
  {
    name: "every record read alone",
    options: { alignmentBytes: 4096, gapBytesMax: 0, readBytesMax: 1 },
  },
  { name: "long gaps read along", options: { alignmentBytes: 512, gapBytesMax: 1 << 20 } },
];

describe.skipIf(path === null)("a planner's choices never change a token, and fit the staging", () => {
  const folder = temporaryFolder();
  afterAll(folder.dispose);

  it.each(PLANNERS)("$name", async ({ options }) => {
    const bundle = await bundleInto(path!, folder.path, "f32");
    const expected = readJson<Expected>(join(path!, "expected.json"));
    let largestStagingBytes = 0;
    let planCount = 0;
    const createPlanner = (): ReadPlanner => {
      const planner = createReadPlanner(options);
      const { contractVersion, readBytesMax, gapBytesMax, alignmentBytes, basis } = planner;
      const plan: ReadPlanner["plan"] = (wanted, fileSizeBytes, target) => {
        planner.plan(wanted, fileSizeBytes, target);
        planCount++;
        largestStagingBytes = Math.max(largestStagingBytes, target.stagingBytes);
      };
      return { contractVersion, readBytesMax, gapBytesMax, alignmentBytes, basis, plan };
    };
    const mix: Mix = { reader: "memory", sparsity: "oracle", parts: { createPlanner } };
    const unbounded = { memoryBytes: Number.POSITIVE_INFINITY, contextLength: 256, threadCount: 2 };
    const engineOptions = { ...unbounded, memoryBytes: halfSlotsBytes(partsOf(bundle, mix), unbounded) };
    const { flightBytes } = planEngine(partsOf(bundle, mix), engineOptions);
    const engine = await engineOf(bundle, { ...mix, options: engineOptions });
    try {
      expect(await greedy(engine, expected.prompt, STEPS)).toEqual(expected.greedy.slice(0, STEPS));
      expect(planCount).toBeGreaterThan(STEPS);
      // A chunk that was planned too large was planned again, or its reads would have failed an assertion.
      expect(largestStagingBytes).toBeGreaterThan(flightBytes);
      expect(engine.mode).toMatchObject({ planner: "defaults" });
    } finally {
      await engine.close();
    }
  });
});

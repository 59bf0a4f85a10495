import { join } from "node:path";
import type { BundleIndex } from "@flashlm/contracts";
import { loadKernels } from "@flashlm/kernels";
import { compactCache } from "@flashlm/window-cache";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { bundleInto, engineOf, greedy, type Mix } from "../support/engines.js";
import { type Expected, fixture, readJson, temporaryFolder } from "../support/fixtures.js";
import { speculativeOf } from "../support/speculation.js";

const STEPS = 160;
const reluPath = fixture("families/llama-relu");
const otherPath = fixture("families/llama");

const native = await loadKernels({ target: "native", memoryBytes: 1 << 20, threadCount: 1 }).then(
  (kernels) => kernels.close().then(() => true),
  () => false,
);
const TARGETS = ["wasm", "reference", ...(native ? ["native" as const] : [])] as const;

/** Predictors of the target: everything, exactly what is active, and less than that. */
const SPARSITIES = ["dense", "oracle", "shadow:0.5"];

describe.skipIf(reluPath === null || otherPath === null)(
  "greedy tokens are the target's, with any draft",
  () => {
    const folder = temporaryFolder();
    let target: BundleIndex;
    let expected: Expected;
    const drafts: Record<string, BundleIndex> = {};
    beforeAll(async () => {
      target = await bundleInto(reluPath!, join(folder.path, "target"), "f32");
      drafts["the same model"] = target;
      drafts["the same in q8_0"] = await bundleInto(reluPath!, join(folder.path, "target"), "q8_0");
      drafts["another model"] = await bundleInto(otherPath!, join(folder.path, "other"), "f32");
      expected = readJson<Expected>(join(reluPath!, "expected.json"));
    });
    afterAll(folder.dispose);

    const compare = async (mix: Mix, draftName: string, draftTokens: number): Promise<number> => {
      const alone = await engineOf(target, mix);
      const engine = await speculativeOf([target, mix], [drafts[draftName]!, {}], draftTokens);
      try {
        const tokens = await greedy(engine, expected.prompt, STEPS);
        expect(tokens).toEqual(await greedy(alone, expected.prompt, STEPS));
        const report = engine.report();
        const { acceptedTokens, passCount, proposedTokens } = report.speculation!;
        expect(report.decodeTokens).toBe(STEPS - 1);
        // Every pass gives what was accepted and one token more.
        expect(acceptedTokens + passCount).toBe(STEPS - 1);
        return acceptedTokens / proposedTokens;
      } finally {
        await alone.close();
        await engine.close();
      }
    };

    for (const sparsity of SPARSITIES) {
      for (const draft of ["the same model", "the same in q8_0", "another model"]) {
        it(`${sparsity}, drafted by ${draft}`, async () => {
          const share = await compare({ sparsity }, draft, 4);
          if (draft === "another model") expect(share).toBeLessThan(0.5);
          else if (sparsity === "shadow:0.5") expect(share).toBeGreaterThan(0);
          else if (draft === "the same model") expect(share).toBe(1);
          else expect(share).toBeGreaterThan(0.5);
        });
      }
    }

    for (const draftTokens of [1, 7, 8]) {
      for (const kernels of TARGETS) {
        it(`${draftTokens} draft tokens, ${kernels}`, async () => {
          await compare({ sparsity: "oracle", kernels }, "the same in q8_0", draftTokens);
        });
      }
    }

    it("whatever the memory, the cache and keys and values in half precision", async () => {
      for (const share of [0.75, 1])
        for (const cacheDtype of ["f32", "f16"] as const) {
          const options = {
            memoryBytes: Math.floor(share * target.weightBytes) + 1_500_000,
            cacheDtype,
            promptChunkTokens: 3,
          };
          await compare({ sparsity: "oracle", cache: compactCache, options }, "the same in q8_0", 5);
        }
    });
  },
);

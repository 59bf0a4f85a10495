import { join } from "node:path";
import type { BundleIndex } from "@flashlm/contracts";
import { compactCache, slotMapCache } from "@flashlm/window-cache";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { bundleInto, engineOf, greedy, halfSlotsBytes, type Mix, partsOf } from "./support/engines.js";
import { type Expected, fixture, readJson, temporaryFolder } from "./support/fixtures.js";

const STEPS = 128;

for (const family of ["llama-relu", "bamboo"]) {
  const path = fixture(`families/${family}`);
  describe.skipIf(path === null)(`every legal mix of parts gives the same tokens: ${family}`, () => {
    const folder = temporaryFolder();
    let bundle: BundleIndex;
    let expected: Expected;
    beforeAll(async () => {
      bundle = await bundleInto(path!, folder.path, "f32");
      expected = readJson<Expected>(join(path!, "expected.json"));
    });
    afterAll(folder.dispose);

    for (const kernels of ["wasm", "reference"] as const) {
      for (const reader of ["node", "memory"] as const) {
        for (const cache of [compactCache, slotMapCache]) {
          for (const sparsity of ["dense", "oracle", "shadow:1"]) {
            it(`${kernels}, ${reader}, ${cache.name}, ${sparsity}`, async () => {
              const mix: Mix = { kernels, reader, cache, sparsity };
              const options = {
                memoryBytes: Number.POSITIVE_INFINITY,
                contextLength: 256,
                promptChunkTokens: reader === "node" ? 7 : 64,
                threadCount: reader === "node" ? 1 : 2,
              };
              const memoryBytes = halfSlotsBytes(partsOf(bundle, mix), options);
              const engine = await engineOf(bundle, { ...mix, options: { ...options, memoryBytes } });
              try {
                expect(await greedy(engine, expected.prompt, STEPS)).toEqual(expected.greedy.slice(0, STEPS));
              } finally {
                await engine.close();
              }
            });
          }
        }
      }
    }
  });
}

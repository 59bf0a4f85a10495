import { join } from "node:path";
import type { BundleIndex } from "@flashlm/contracts";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { bundleInto, engineOf, greedy, largestDifference, logitsOf } from "./support/engines.js";
import {
  type Expected,
  fixture,
  legacyCheckpoint,
  readJson,
  readTensor,
  temporaryFolder,
} from "./support/fixtures.js";

/** f32 sums in another order than the reference's; largest logits are about 10. */
const LOGIT_TOLERANCE = 1e-4;
const FAMILIES = [
  "llama",
  "llama-tied-rope3",
  "llama-relu",
  "llama-fatrelu",
  "bamboo",
  "mistral",
  "opt",
  "opt-post-norm",
  "falcon-7b",
  "falcon-7b-relu",
  "falcon-40b",
  "falcon-rw",
  "persimmon",
  "phi",
  "phi-relu",
  "phi3",
  "qwen2",
  "qwen3",
  "gemma2",
  "gemma3",
  "smollm3",
  "olmo2",
  "nemotron",
  "arcee",
];
/** ReLU and its kin: the oracle skips what is zero, and the tokens are the same. */
const SPARSE = new Set([
  "llama-relu",
  "llama-fatrelu",
  "bamboo",
  "opt",
  "opt-post-norm",
  "falcon-7b-relu",
  "persimmon",
  "phi-relu",
  "nemotron",
  "arcee",
]);

for (const family of FAMILIES) {
  const path = fixture(`families/${family}`);
  for (const form of ["new", "legacy"] as const) {
    describe.skipIf(path === null)(`${family} (${form} config)`, () => {
      const folder = temporaryFolder();
      let bundle: BundleIndex;
      beforeAll(async () => {
        bundle = await bundleInto(
          form === "new" ? path! : legacyCheckpoint(path!, folder.path),
          folder.path,
          "f32",
        );
      });
      afterAll(folder.dispose);

      for (const kernels of ["wasm", "reference"] as const) {
        it(`agrees with transformers on ${kernels}`, async () => {
          const expected = readJson<Expected>(join(path!, "expected.json"));
          const tensors = join(path!, "expected.safetensors");
          const { vocabularySize } = bundle.manifest.model;
          const engine = await engineOf(bundle, { kernels });
          try {
            const sequence = [...expected.prompt, ...expected.greedy];
            expect(
              largestDifference(
                await logitsOf(engine, sequence, vocabularySize),
                readTensor(tensors, "logits").data as Float32Array,
              ),
            ).toBeLessThan(LOGIT_TOLERANCE);
            const probe = await logitsOf(engine, expected.probe, vocabularySize);
            expect(
              largestDifference(probe, readTensor(tensors, "probe_logits").data as Float32Array),
            ).toBeLessThan(LOGIT_TOLERANCE);
            expect(await greedy(engine, expected.prompt, 128)).toEqual(expected.greedy);
          } finally {
            await engine.close();
          }
          if (!SPARSE.has(family)) return;
          const sparse = await engineOf(bundle, { kernels, sparsity: "oracle" });
          try {
            const sequence = [...expected.prompt, ...expected.greedy];
            expect(
              largestDifference(
                await logitsOf(sparse, sequence, vocabularySize),
                readTensor(tensors, "logits").data as Float32Array,
              ),
            ).toBeLessThan(LOGIT_TOLERANCE);
            expect(await greedy(sparse, expected.prompt, 128)).toEqual(expected.greedy);
            const report = sparse.report();
            expect(report.keptNeurons).toBeLessThan(report.possibleNeurons);
          } finally {
            await sparse.close();
          }
        });
      }
    });
  }
}

import { join } from "node:path";
import type { BundleIndex } from "@flashlm/contracts";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { bundleInto, engineOf, greedy, largestDifference, logitsOf } from "./support/engines.js";
import { type Expected, fixture, readJson, readTensor, temporaryFolder } from "./support/fixtures.js";

const LOGIT_TOLERANCE = 1e-4;
const TYPES = [
  "F32",
  "F16",
  "BF16",
  "Q8_0",
  "Q4_0",
  "Q4_1",
  "Q5_0",
  "Q5_1",
  "Q2_K",
  "Q3_K_M",
  "Q4_K_M",
  "Q5_K_M",
  "Q6_K",
  "IQ4_NL",
  "IQ4_XS",
];

for (const type of TYPES) {
  const path = fixture(`gguf/types-${type}.gguf`);
  describe.skipIf(path === null)(`GGUF of ${type}`, () => {
    const folder = temporaryFolder();
    let bundle: BundleIndex;
    beforeAll(async () => {
      bundle = await bundleInto(path!, folder.path, "f32");
    });
    afterAll(folder.dispose);

    for (const kernels of ["wasm", "reference"] as const) {
      it(`agrees with transformers on the dequantised weights, ${kernels}`, async () => {
        const tensors = fixture("gguf/expected.safetensors")!;
        const tokens = Array.from(readTensor(tensors, "tokens").data as ArrayLike<number | bigint>, Number);
        const engine = await engineOf(bundle, { kernels });
        try {
          const logits = await logitsOf(engine, tokens, bundle.manifest.model.vocabularySize);
          expect(
            largestDifference(logits, readTensor(tensors, `logits.${type}`).data as Float32Array),
          ).toBeLessThan(LOGIT_TOLERANCE);
        } finally {
          await engine.close();
        }
      });
    }
  });
}

for (const family of ["llama", "qwen2", "qwen3", "arcee", "nemotron"]) {
  const path = fixture(`gguf/${family}-F32.gguf`);
  describe.skipIf(path === null || fixture(`families/${family}`) === null)(`GGUF ${family}-F32`, () => {
    const folder = temporaryFolder();
    afterAll(folder.dispose);
    it("holds the weights of the Hugging Face checkpoint and gives its tokens", async () => {
      const source = fixture(`families/${family}`)!;
      const bundle = await bundleInto(path!, join(folder.path, "gguf"), "f32");
      const twin = await bundleInto(source, join(folder.path, "folder"), "f32");
      const checksums = ({ manifest }: BundleIndex): [string, number][] =>
        manifest.tensors.map(({ name, crc32c }) => [name, crc32c]);
      expect(checksums(bundle)).toEqual(checksums(twin));
      for (let layer = 0; layer < twin.manifest.layers.length; layer++)
        expect(bundle.recordChecksums(layer)).toEqual(twin.recordChecksums(layer));
      const expected = readJson<Expected>(join(source, "expected.json"));
      const engine = await engineOf(bundle, { kernels: "wasm" });
      try {
        expect(await greedy(engine, expected.prompt, 128)).toEqual(expected.greedy);
      } finally {
        await engine.close();
      }
    });
  });
}

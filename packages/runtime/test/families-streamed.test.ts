import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { bundleInto, engineOf, greedy, leastBytes, partsOf } from "./support/engines.js";
import { type Expected, fixture, readJson, temporaryFolder } from "./support/fixtures.js";

const CONTEXT = 160;

/** Families whose layers have something to do behind the FFN, or tables outside the layers. */
for (const family of ["gemma2", "gemma3", "llama", "olmo2", "opt", "opt-post-norm", "falcon-rw", "phi"]) {
  const path = fixture(`families/${family}`);
  describe.skipIf(path === null)(`${family} in the least memory`, () => {
    const folder = temporaryFolder();
    afterAll(folder.dispose);
    it("gives the reference's tokens while every layer is streamed", async () => {
      const bundle = await bundleInto(path!, folder.path, "f32");
      const { prompt, greedy: expected } = readJson<Expected>(join(path!, "expected.json"));
      const memoryBytes = leastBytes(partsOf(bundle, {}), CONTEXT);
      const options = { memoryBytes, contextLength: CONTEXT, promptChunkTokens: 64 };
      const engine = await engineOf(bundle, { options });
      try {
        expect(engine.mode["attention resident"]).toBe("0/3 layers");
        expect(engine.mode.head).toBe("streamed");
        expect(await greedy(engine, prompt, 128)).toEqual(expected);
      } finally {
        await engine.close();
      }
    });
  });
}

/** Plain FFNs with biases keep a layer's attention block in use while the streamed predictor's comes and goes. */
for (const family of ["opt", "opt-post-norm", "llama-relu"]) {
  const path = fixture(`families/${family}`);
  describe.skipIf(path === null)(`${family} in the least memory, active neurons only`, () => {
    const folder = temporaryFolder();
    afterAll(folder.dispose);
    it("gives the tokens of a run with all of the memory", async () => {
      const bundle = await bundleInto(path!, folder.path, "f32");
      const { prompt } = readJson<Expected>(join(path!, "expected.json"));
      const mix = { sparsity: "oracle" };
      const memoryBytes = leastBytes(partsOf(bundle, mix), CONTEXT);
      const runs = [];
      for (const budget of [Number.POSITIVE_INFINITY, memoryBytes]) {
        const options = { memoryBytes: budget, contextLength: CONTEXT };
        const engine = await engineOf(bundle, { ...mix, options });
        try {
          runs.push({ tokens: await greedy(engine, prompt, 128), mode: engine.mode["predictor resident"] });
        } finally {
          await engine.close();
        }
      }
      expect(runs.map((run) => run.mode)).toEqual(["3/3 layers", "0/3 layers"]);
      expect(runs[1]!.tokens).toEqual(runs[0]!.tokens);
    });
  });
}

import { join } from "node:path";
import type { BundleIndex, PredictorPart } from "@flashlm/contracts";
import { parseSparsity } from "@flashlm/predictor";
import { compactCache, slotMapCache } from "@flashlm/window-cache";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { bundleInto, engineOf, greedy } from "./support/engines.js";
import { type Expected, fixture, readJson, temporaryFolder } from "./support/fixtures.js";

const STEPS = 128;
const QUIET_LAYER = 1;
const path = fixture("families/llama-relu");

/** The oracle's neurons, but of one layer those that `choose` leaves. */
function quietPart(choose: (mask: Uint8Array) => number): PredictorPart {
  const oracle = parseSparsity("oracle");
  return {
    ...oracle,
    create(context) {
      const predictor = oracle.create(context);
      return {
        ...predictor,
        scoreProgram: (layerIndex) => predictor.scoreProgram(layerIndex),
        predictInto(layerIndex, tokenCount, target) {
          const count = predictor.predictInto(layerIndex, tokenCount, target);
          return layerIndex === QUIET_LAYER ? choose(target.mask) : count;
        },
      };
    },
  };
}

/** Names one neuron that does not fire, for every token of the chunk: what it adds is 0. */
function nameSilentOne(neuronCount: number): (mask: Uint8Array) => number {
  return (mask) => {
    let count = 0;
    for (let row = 0; row < mask.length; row += neuronCount) {
      const silent = mask.indexOf(0, row);
      mask.fill(0, row, row + neuronCount);
      mask[silent] = 1;
      count++;
    }
    return count;
  };
}

describe.skipIf(path === null)("a layer of which no neuron fires", () => {
  const folder = temporaryFolder();
  let bundle: BundleIndex;
  let prompt: readonly number[];
  beforeAll(async () => {
    bundle = await bundleInto(path!, folder.path, "f16");
    prompt = readJson<Expected>(join(path!, "expected.json")).prompt;
  });
  afterAll(folder.dispose);

  const run = async (predictor: PredictorPart, cache = slotMapCache): Promise<number[]> => {
    const engine = await engineOf(bundle, { cache, parts: { predictor } });
    try {
      return await greedy(engine, prompt, STEPS);
    } finally {
      await engine.close();
    }
  };

  it("adds nothing, as a neuron does that does not fire", async () => {
    const { neuronCount } = bundle.manifest.model.ffn;
    const wanted = await run(quietPart(nameSilentOne(neuronCount)));
    const none = quietPart((mask) => {
      mask.fill(0);
      return 0;
    });
    expect(await run(none)).toEqual(wanted);
    expect(await run(none, compactCache)).toEqual(wanted);
    expect(wanted).not.toEqual(await run(parseSparsity("oracle")));
  });
});

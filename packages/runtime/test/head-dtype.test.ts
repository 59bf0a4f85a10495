import { join } from "node:path";
import type { BundleIndex } from "@flashlm/contracts";
import { loadKernels } from "@flashlm/kernels";
import { parseSparsity } from "@flashlm/predictor";
import { forecastToken, type MemoryPlan, planEngine } from "@flashlm/runtime";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { engineOf, greedy, leastBytes, type Mix, partsOf } from "./support/engines.js";
import { type Expected, fixture, readJson, temporaryFolder } from "./support/fixtures.js";
import { bundleWithHeads } from "./support/heads.js";

const STEPS = 128;
const RANK = 32;
const path = fixture("families/llama-relu");
const native = await loadKernels({ target: "native", memoryBytes: 1 << 20, threadCount: 1 }).then(
  (kernels) => kernels.close().then(() => true),
  () => false,
);
const OTHER_TARGETS = ["reference", ...(native ? ["native" as const] : [])] as const;

describe.skipIf(path === null)("heads in q8_0", () => {
  const folder = temporaryFolder();
  const lookAhead = parseSparsity("lowrank", { lookAhead: true });
  let halves: BundleIndex;
  let blocks: BundleIndex;
  let prompt: readonly number[];
  let wanted: readonly number[];
  beforeAll(async () => {
    halves = await bundleWithHeads(path!, folder.path, { rank: RANK, dtype: "f16" });
    blocks = await bundleWithHeads(path!, folder.path, { rank: RANK, dtype: "q8_0" });
    prompt = readJson<Expected>(join(path!, "expected.json")).prompt;
    wanted = await tokensOf(blocks, { kernels: "wasm", sparsity: "lowrank" });
  });
  afterAll(folder.dispose);

  async function tokensOf(bundle: BundleIndex, mix: Mix): Promise<number[]> {
    const engine = await engineOf(bundle, mix);
    try {
      return await greedy(engine, prompt, STEPS);
    } finally {
      await engine.close();
    }
  }

  const planOf = (bundle: BundleIndex, memoryBytes: number): MemoryPlan =>
    planEngine(partsOf(bundle, { parts: { predictor: lookAhead } }), {
      memoryBytes,
      contextLength: 64,
      threadCount: 1,
    });
  const bytesOf = (name: string, { rows }: MemoryPlan): number =>
    rows.find(({ owner }) => owner === name)!.plannedBytes;
  /** A limit under which the heads stay resident and half of the slots remain. */
  const halfOfSlots = (bundle: BundleIndex): number => {
    const rest = planOf(bundle, Number.POSITIVE_INFINITY);
    const least = leastBytes(partsOf(bundle, { parts: { predictor: lookAhead } }), 256);
    return least + bytesOf("predictor", rest) + Math.floor(0.5 * bytesOf("neuron slots", rest));
  };

  it.each(OTHER_TARGETS)("name the same neurons on %s as on wasm", async (kernels) => {
    expect(await tokensOf(blocks, { kernels, sparsity: "lowrank" })).toEqual(wanted);
  });

  it("give the same tokens when they are streamed, and when they guess", async () => {
    const options = { memoryBytes: halfOfSlots(blocks), contextLength: 256 };
    expect(await tokensOf(blocks, { parts: { predictor: lookAhead }, options })).toEqual(wanted);
    const mix = { sparsity: "lowrank" };
    const least = leastBytes(partsOf(blocks, mix), 256);
    const streamed = { memoryBytes: least, contextLength: 256 };
    expect(planEngine(partsOf(blocks, mix), { ...streamed, threadCount: 2 }).predictorBlockResident).toEqual([
      false,
      false,
      false,
    ]);
    expect(await tokensOf(blocks, { ...mix, options: streamed })).toEqual(wanted);
  });

  it("leave their memory to the neurons", () => {
    const planned = (bundle: BundleIndex): number =>
      bytesOf("predictor", planOf(bundle, Number.POSITIVE_INFINITY));
    // The bias stays f32, and a layer's tensors begin on a page.
    expect(planned(blocks)).toBeLessThan(0.7 * planned(halves));
    const slotCount = (bundle: BundleIndex): number =>
      planOf(bundle, halfOfSlots(halves)).slotCountByLayer.reduce((total, count) => total + count, 0);
    expect(slotCount(blocks)).toBeGreaterThan(slotCount(halves));
  });

  it("are forecast to compute as much less as they have fewer bytes", () => {
    const scoreBytesPerSecond = 1e6;
    const kernel = {
      ...{ target: "wasm", threadCount: 1, layerMs: 0, positionMs: 0, activationMs: 0, downMs: 0 },
      ...{ flightMs: 0, headMs: 0, scoreBytesPerSecond },
    };
    const device = {
      ...{ chunkBytes: [4096], depths: [1], cells: [], copyBytesPerSecond: 1e10 },
      sequential: { chunkBytes: 4096, depth: 1, bytesPerSecond: 1e9 },
    };
    const reader = { inFlightMax: 32, alignmentBytes: 1 };
    const computeMs = (bundle: BundleIndex): number => {
      const plan = planOf(bundle, Number.POSITIVE_INFINITY);
      const given = { bundle, plan, demand: null, device, kernel, reader, positionCount: 1 };
      return forecastToken({ ...given, predictor: lookAhead, lookAheadShares: null }).computeMs;
    };
    const headBytes = ({ manifest }: BundleIndex): number =>
      manifest.tensors
        .filter(({ name }) => /\.(lowrank|lookahead)\./.test(name))
        .reduce((total, { lengthBytes }) => total + lengthBytes, 0);
    const savedMs = (1000 * (headBytes(halves) - headBytes(blocks))) / scoreBytesPerSecond;
    // Blocks of a layer are counted with the padding between their tensors.
    expect((computeMs(halves) - computeMs(blocks)) / savedMs).toBeCloseTo(1, 1);
  });
});

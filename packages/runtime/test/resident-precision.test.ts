import { join } from "node:path";
import { hashCheckpoint, openBundle, openCheckpoint, writeBundle } from "@flashlm/bundler";
import type { BundleIndex, WeightDtype } from "@flashlm/contracts";
import { loadKernels } from "@flashlm/kernels";
import {
  type KernelSpeed,
  planEngine,
  residentDtypeOf,
  scaleKernelSpeed,
  withResidentDtype,
} from "@flashlm/runtime";
import { afterAll, describe, expect, it } from "vitest";
import { layerBlock } from "../src/blocks.js";
import {
  engineOf,
  greedy,
  largestDifference,
  leastBytes,
  logitsOf,
  type Mix,
  partsOf,
} from "./support/engines.js";
import { type Expected, fixture, readJson, readTensor, temporaryFolder } from "./support/fixtures.js";

const folder = temporaryFolder();
afterAll(folder.dispose);

const FAMILIES = [
  "llama",
  "llama-tied-rope3",
  "opt",
  "opt-post-norm",
  "falcon-7b",
  "gemma3",
  "bamboo",
].flatMap((name) => {
  const path = fixture(`families/${name}`);
  return path === null ? [] : [{ name, path }];
});
/** Share of the largest logit by which residents of q8_0 may move one: the made-up weights of the fixtures are as wide as their blocks. */
const LOGIT_SHARE = 0.04;

const native = await loadKernels({ target: "native", memoryBytes: 1 << 20, threadCount: 1 }).then(
  (kernels) => kernels.close().then(() => true),
  () => false,
);
const TARGETS = ["wasm", "reference", ...(native ? (["native"] as const) : [])] as const;

async function bundleOf(
  family: { name: string; path: string },
  dtype: WeightDtype,
  residentDtype?: WeightDtype,
): Promise<BundleIndex> {
  const checkpoint = await openCheckpoint(family.path);
  const outPath = join(folder.path, `${family.name}-${dtype}-${residentDtype ?? "same"}`);
  const contentHash = await hashCheckpoint(checkpoint.paths);
  await writeBundle(checkpoint, { outPath, dtype, ...(residentDtype ? { residentDtype } : {}), contentHash });
  checkpoint.close();
  return openBundle(outPath);
}

async function tokensOf(
  bundle: BundleIndex,
  mix: Mix,
  prompt: readonly number[],
  count: number,
): Promise<number[]> {
  const engine = await engineOf(bundle, mix);
  try {
    return await greedy(engine, prompt, count);
  } finally {
    await engine.close();
  }
}

describe.each(FAMILIES)("$name with residents in q8_0", (family) => {
  it("gives logits close to the reference's", async () => {
    const bundle = await bundleOf(family, "f16", "q8_0");
    const { data } = readTensor(join(family.path, "expected.safetensors"), "logits");
    const reference = data as Float32Array;
    const { prompt, greedy: next } = readJson<Expected>(join(family.path, "expected.json"));
    const engine = await engineOf(bundle, {});
    const logits = await logitsOf(engine, [...prompt, ...next], bundle.manifest.model.vocabularySize);
    expect(engine.mode.dtype).toBe("f16, residents q8_0 requantised");
    await engine.close();
    const largest = reference.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    expect(largestDifference(logits, reference) / largest).toBeLessThan(LOGIT_SHARE);
  });

  it("gives the same 128 tokens under every budget and kernel target", async () => {
    const bundle = await bundleOf(family, "f16", "q8_0");
    const { prompt } = readJson<Expected>(join(family.path, "expected.json"));
    const tokens = await tokensOf(bundle, {}, prompt, 128);
    expect(tokens).toHaveLength(128);
    const least = leastBytes(partsOf(bundle, {}), 256);
    for (const memoryBytes of [least, least + Math.floor(0.4 * bundle.weightBytes)])
      expect(await tokensOf(bundle, { options: { memoryBytes } }, prompt, 128)).toEqual(tokens);
    for (const kernels of TARGETS.slice(1))
      expect(await tokensOf(bundle, { kernels }, prompt, 128)).toEqual(tokens);
  });

  it("is planned from the bundle without them as from one with them", async () => {
    const plain = await bundleOf(family, "f16");
    const mixed = await bundleOf(family, "f16", "q8_0");
    const planned = withResidentDtype(plain, "q8_0");
    expect([residentDtypeOf(plain), residentDtypeOf(mixed), residentDtypeOf(planned)]).toEqual([
      ...["f16", "q8_0", "q8_0"],
    ]);
    expect(planned.weightBytes).toBe(mixed.weightBytes);
    const shapes = (bundle: BundleIndex): unknown =>
      bundle.manifest.tensors.map(({ name, dtype, lengthBytes, rowCount }) => [
        name,
        dtype,
        lengthBytes,
        rowCount,
      ]);
    expect(shapes(planned)).toEqual(shapes(mixed));
    const least = leastBytes(partsOf(plain, {}), 256);
    const slotsOf = (bundle: BundleIndex, memoryBytes: number): number =>
      planEngine(partsOf(bundle, {}), {
        memoryBytes,
        contextLength: 256,
        threadCount: 2,
      }).slotCountByLayer.reduce((total, count) => total + count, 0);
    for (const share of [0, 0.3, 0.6, 0.9]) {
      const memoryBytes = least + Math.floor(share * plain.weightBytes);
      const options = { memoryBytes, contextLength: 256, threadCount: 2 };
      expect(planEngine(partsOf(planned, {}), options)).toEqual(planEngine(partsOf(mixed, {}), options));
    }
    const memoryBytes = least + Math.floor(0.6 * plain.weightBytes);
    expect(slotsOf(planned, memoryBytes)).toBeGreaterThan(slotsOf(plain, memoryBytes));
  });
});

describe.skipIf(FAMILIES.length === 0)("the speed of kernels on other residents", () => {
  it("scales with the bytes of attention and head, and leaves the FFN alone", async () => {
    const bundle = await bundleOf(FAMILIES[0]!, "f32");
    const kernel: KernelSpeed = {
      ...{ target: "wasm", threadCount: 1, layerMs: 3, positionMs: 0.1, activationMs: 0.2, downMs: 0.3 },
      ...{ flightMs: 0.4, headMs: 8, scoreBytesPerSecond: 1e9 },
    };
    const other = withResidentDtype(bundle, "bf16");
    const { layerMs, headMs, ...rest } = scaleKernelSpeed(kernel, bundle, other);
    expect(headMs).toBe(4);
    // Norms stay f32, so a layer's share is a little above half.
    const share = layerBlock(other, 0).lengthBytes / layerBlock(bundle, 0).lengthBytes;
    expect(share).toBeGreaterThan(0.5);
    expect(layerMs).toBe(3 * share);
    expect(rest).toEqual({ ...kernel, layerMs: undefined, headMs: undefined });
    expect(scaleKernelSpeed(kernel, bundle, bundle)).toEqual(kernel);
  });
});

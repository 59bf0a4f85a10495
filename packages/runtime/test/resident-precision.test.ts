import { join } from "node:path";
import {
  decodeRow,
  encodeRow,
  hashCheckpoint,
  openBundle,
  openCheckpoint,
  writeBundle,
} from "@flashlm/bundler";
import { type BundleIndex, rowBytes, type WeightDtype } from "@flashlm/contracts";
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

const FAMILIES = ["llama", "llama-tied-rope3", "opt-post-norm", "falcon-7b", "gemma3"].flatMap((name) => {
  const path = fixture(`families/${name}`);
  return path === null ? [] : [{ name, path }];
});
/** Share of the largest logit that two orders of the same f32 sums differ by; the norms of opt-post-norm amplify it. */
const ROUNDED_SHARE = 2e-4;
/** Share by which residents of q8_0 may move a logit: the made-up models are narrow, so that a block's step is a large part of a sum. */
const REFERENCE_SHARE = 0.25;
/** Rounding moves its logits by more than they are; they are compared with the rounded model alone. */
const ILL_CONDITIONED = "opt-post-norm";

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

/** A bundle of f32 from a checkpoint whose residents have been through q8_0. */
async function roundedBundle(family: { name: string; path: string }): Promise<BundleIndex> {
  const checkpoint = await openCheckpoint(family.path);
  const readRows: typeof checkpoint.readRows = (name, begin, end, target) => {
    checkpoint.readRows(name, begin, end, target);
    if (!/attention\.[a-z]+\.weight$|^(embedding|head)\./.test(name)) return;
    const bytes = new Uint8Array(rowBytes("q8_0", target.length));
    encodeRow("q8_0", target, bytes);
    decodeRow("q8_0", bytes, target);
  };
  const rounding = Object.assign(Object.create(checkpoint) as typeof checkpoint, { readRows });
  const outPath = join(folder.path, `${family.name}-rounded`);
  await writeBundle(rounding, { outPath, dtype: "f32", contentHash: "0".repeat(64) });
  checkpoint.close();
  return openBundle(outPath);
}

/** What f32 keys and values of 256 positions need beyond f16 ones. */
function keyValueBytes({ manifest }: BundleIndex): number {
  const { attention, layerCount } = manifest.model;
  return 4 * 256 * layerCount * attention.keyValueHeadCount * attention.headDim;
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
  it("gives the logits of residents that were rounded before, and close to the reference's", async () => {
    const bundle = await bundleOf(family, "f32", "q8_0");
    const { data } = readTensor(join(family.path, "expected.safetensors"), "logits");
    const { prompt, greedy: next } = readJson<Expected>(join(family.path, "expected.json"));
    const all = async (of: BundleIndex): Promise<Float32Array> => {
      const engine = await engineOf(of, {});
      const logits = await logitsOf(engine, [...prompt, ...next], of.manifest.model.vocabularySize);
      await engine.close();
      return logits;
    };
    const logits = await all(bundle);
    const largest = logits.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const rounded = await all(await roundedBundle(family));
    expect(rounded.some((value) => value !== 0)).toBe(true);
    expect(largestDifference(logits, rounded)).toBeLessThan(ROUNDED_SHARE * largest);
    if (family.name === ILL_CONDITIONED) return;
    expect(largestDifference(logits, data as Float32Array)).toBeLessThan(REFERENCE_SHARE * largest);
  });

  it("gives the same 128 tokens under every budget and kernel target", async () => {
    const bundle = await bundleOf(family, "f16", "q8_0");
    const { prompt } = readJson<Expected>(join(family.path, "expected.json"));
    // Keys and values of half precision would make a rounding of the last bit, in which targets differ, a large one.
    const options = { cacheDtype: "f32" } as const;
    const engine = await engineOf(bundle, { options });
    expect(engine.mode.dtype).toBe("f16, residents q8_0 requantised");
    await engine.close();
    const tokens = await tokensOf(bundle, { options }, prompt, 128);
    expect(tokens).toHaveLength(128);
    const least = leastBytes(partsOf(bundle, {}), 256) + keyValueBytes(bundle);
    for (const memoryBytes of [least, least + Math.floor(0.4 * bundle.weightBytes)])
      expect(await tokensOf(bundle, { options: { ...options, memoryBytes } }, prompt, 128)).toEqual(tokens);
    for (const kernels of TARGETS.slice(1))
      expect(await tokensOf(bundle, { kernels, options }, prompt, 128)).toEqual(tokens);
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
    // Half of the records have slots, and there is memory for every comfort.
    const { layers, record } = plain.manifest;
    const recordBytes = layers.reduce((total, layer) => total + layer.neuronCount * record.strideBytes, 0);
    const all = { memoryBytes: Number.POSITIVE_INFINITY, contextLength: 256, threadCount: 2 };
    const memoryBytes = planEngine(partsOf(plain, {}), all).totalBytes - Math.floor(recordBytes / 2);
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

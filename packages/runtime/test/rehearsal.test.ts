import { parseSparsity } from "@flashlm/predictor";
import { forecastToken, planEngine, probeKernels, rehearse } from "@flashlm/runtime";
import { afterAll, describe, expect, it } from "vitest";
import { bundleInto, partsOf } from "./support/engines.js";
import { fixture, temporaryFolder } from "./support/fixtures.js";

const path = fixture("families/llama-relu");

describe.skipIf(path === null)("a rehearsal", () => {
  const folder = temporaryFolder();
  afterAll(folder.dispose);

  it("runs some layers of a bundle and gives figures that a forecast takes", {
    timeout: 60_000,
  }, async () => {
    const bundle = await bundleInto(path!, folder.path, "f32");
    const parts = partsOf(bundle, {});
    const options = { threadCount: 1 };
    const kernel = await probeKernels({
      bundle,
      createKernels: parts.createKernels,
      kernelOverheadBytes: parts.kernelOverheadBytes(options),
      threadCount: 1,
      cacheDtype: null,
      precision: "f32",
    });
    const engine = await rehearse(parts, options, kernel);
    const { misses, overflows, blockBytesPerSecond, ...fixed } = engine.sparse;
    expect(blockBytesPerSecond).toBeGreaterThan(0);
    const { streams, resident, ...chunks } = engine.dense;
    for (const { bytesPerSecond } of streams) expect(bytesPerSecond).toBeGreaterThan(0);
    const records = [fixed, resident!, chunks, ...misses, ...overflows];
    for (const figure of records.flatMap((record) => Object.values(record))) {
      expect(figure).toBeGreaterThanOrEqual(0);
      expect(figure).toBeLessThan(1e6);
    }
    for (const costs of [misses, overflows]) {
      const counts = costs.map(({ missCount }) => missCount);
      expect(counts.length).toBeGreaterThan(1);
      expect(counts).toEqual([...new Set(counts)].sort((a, b) => a - b));
    }

    const predictor = parseSparsity("oracle");
    const memoryBytes = Math.floor(1.6 * bundle.weightBytes);
    const plan = planEngine({ ...parts, predictor }, { memoryBytes, contextLength: 64, threadCount: 1 });
    const device = {
      chunkBytes: [4096],
      depths: [1],
      cells: [],
      sequential: { chunkBytes: 4096, depth: 1, bytesPerSecond: 1e9 },
      copyBytesPerSecond: 1e10,
    };
    const reader = { inFlightMax: 32, alignmentBytes: 1 };
    const given = { bundle, plan, predictor, demand: null, device, reader, positionCount: 1 };
    const forecast = forecastToken({ ...given, kernel: { ...kernel, engine } });
    expect(forecast.tokenMs).toBeGreaterThan(0);
    expect(forecast.computeMs).toBeGreaterThanOrEqual(bundle.manifest.layers.length * kernel.layerMs);

    // What is read into less staging than was rehearsed comes in more chunks, and each costs what it does in dense layers.
    const inChunks = (flightBytes: number, chunkMs: number): number => {
      const dense = {
        ...engine.dense,
        cacheFlightMs: chunkMs,
        streams: [{ flightBytes: 1 << 20, bytesPerSecond: 1e9 }],
      };
      const noSlots = { ...plan, flightBytes, slotCountByLayer: plan.slotCountByLayer.map(() => 0) };
      return forecastToken({ ...given, plan: noSlots, kernel: { ...kernel, engine: { ...engine, dense } } })
        .cacheMs;
    };
    expect(inChunks(1 << 20, 1)).toBeCloseTo(inChunks(1 << 20, 0), 9);
    expect(inChunks(1024, 1)).toBeGreaterThan(inChunks(1024, 0) + bundle.manifest.layers.length);
  });
});

import {
  type CachePart,
  DEMAND_WINDOW_MAX,
  type LayerDemand,
  ReadPlan,
  WantedReads,
} from "@flashlm/contracts";
import { createReadPlanner } from "@flashlm/flash-io";
import {
  batchMs,
  coverageOf,
  type DeviceSpeed,
  expectedHitShare,
  freshShare,
  missReads,
  readBytesPerSecond,
  uniformDemand,
  windowNeurons,
  windowThatFits,
} from "@flashlm/runtime";
import { slotMapCache, type Trace, traceDemand } from "@flashlm/window-cache";
import { describe, expect, it } from "vitest";
import { worthwhileGapBytes } from "../src/cost-model/device-costs.js";
import { stagedChunks } from "../src/cost-model/read-costs.js";

const NEURON_COUNT = 400;

function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 4294967296;
  };
}

/** Tokens that name popular neurons (low ids) often and keep a part of what the token before named. */
function makeTokens(tokenCount: number, keptShare: number): number[][] {
  const next = random(5);
  let before = new Set<number>();
  return Array.from({ length: tokenCount }, () => {
    const named = new Set<number>();
    for (let id = 0; id < NEURON_COUNT; id++) {
      const popularity = 0.35 / (1 + id / 60);
      const chance = before.has(id)
        ? keptShare + (1 - keptShare) * popularity
        : popularity * (1 - keptShare / 2);
      if (next() < chance) named.add(id);
    }
    before = named;
    return [...named].sort((a, b) => a - b);
  });
}

function traceOf(tokens: readonly number[][]): Trace {
  const starts = [0];
  for (const ids of tokens) starts.push(starts.at(-1)! + ids.length);
  const layer = {
    unitCount: NEURON_COUNT,
    starts: Uint32Array.from(starts),
    ids: Uint16Array.from(tokens.flat()),
  };
  const layers = [layer];
  const header = {
    formatVersion: 1,
    unit: "neuron",
    layers,
    recordBytes: 1,
    model: "",
    sparsity: "",
  } as const;
  return { header, tokenCount: tokens.length, layers };
}

function hitShare(
  part: CachePart,
  tokens: readonly number[][],
  slotCount: number,
  pinnedCount: number,
): number {
  const cache = part.create({
    unit: "neuron",
    layers: [{ unitCount: NEURON_COUNT, slotCount, pinnedCount }],
    windowTokens: 5,
    moveRecord: () => {},
  });
  for (const ids of tokens) {
    cache.acquire(0, Uint32Array.from(ids), ids.length, "window").release();
    cache.advanceToken();
  }
  const { hitCount, missCount } = cache.stats();
  return hitCount / (hitCount + missCount);
}

const tokens = makeTokens(2000, 0.5);
const demand = traceDemand(traceOf(tokens)).layers[0]!;

describe("demand of a trace", () => {
  it("counts fresh neurons by window as a plain count does", () => {
    for (const window of [1, 2, 5, 20, DEMAND_WINDOW_MAX]) {
      let fresh = 0;
      let named = 0;
      for (let token = window; token < tokens.length; token++) {
        const seen = new Set(tokens.slice(token - window, token).flat());
        named += tokens[token]!.length;
        fresh += tokens[token]!.filter((id) => !seen.has(id)).length;
      }
      expect(freshShare(demand, window)).toBeCloseTo(fresh / named, 12);
    }
    expect(demand.namedPerToken).toBeCloseTo(tokens.flat().length / tokens.length, 12);
    const low = tokens.flat().filter((id) => id < NEURON_COUNT / 4).length / tokens.flat().length;
    expect(coverageOf(demand, NEURON_COUNT / 4)).toBeCloseTo(low, 2);
  });

  it("gives the size of the working set, as counting distinct neurons does", () => {
    for (const window of [1, 3, 8, 30]) {
      let total = 0;
      for (let token = window; token <= tokens.length; token++)
        total += new Set(tokens.slice(token - window, token).flat()).size;
      expect(windowNeurons(demand, window)).toBeCloseTo(total / (tokens.length - window + 1), 0);
    }
    expect(windowThatFits(demand, demand.namedPerToken - 1)).toBe(0);
    const held = windowNeurons(demand, 4);
    expect(windowThatFits(demand, held)).toBe(4);
    expect(windowThatFits(demand, held - 1)).toBe(3);
  });
});

describe("expected hits", () => {
  it("are within 5 points of what the real cache has, for windows of any length", () => {
    for (const slotCount of [20, 60, 120, 200, 300, 380])
      expect(
        Math.abs(expectedHitShare(demand, slotCount, 0) - hitShare(slotMapCache, tokens, slotCount, 0)),
        `${slotCount} slots`,
      ).toBeLessThan(0.05);
  });

  it("are what is pinned covers, where all slots are pinned, and 7 points close for a mixture", () => {
    for (const pinned of [50, 150]) {
      expect(expectedHitShare(demand, pinned, pinned)).toBeCloseTo(
        hitShare(slotMapCache, tokens, pinned, pinned),
        1,
      );
      expect(
        Math.abs(expectedHitShare(demand, 200, pinned) - hitShare(slotMapCache, tokens, 200, pinned)),
      ).toBeLessThan(0.07);
    }
  });

  it("are the share of the slots where every neuron is named, and all or nothing at the ends", () => {
    const dense: LayerDemand = uniformDemand(1000, 1);
    expect(expectedHitShare(dense, 250, 250)).toBeCloseTo(0.25, 12);
    expect(expectedHitShare(dense, 1000, 0)).toBe(1);
    expect(expectedHitShare(demand, 0, 0)).toBe(0);
    expect(expectedHitShare(demand, NEURON_COUNT, 0)).toBe(1);
  });

  it("grow with the slots", () => {
    let before = 0;
    for (let slotCount = 0; slotCount <= NEURON_COUNT; slotCount += 10) {
      const share = expectedHitShare(demand, slotCount, 0);
      expect(share).toBeGreaterThanOrEqual(before - 1e-9);
      before = share;
    }
  });
});

describe("reads of misses", () => {
  it("are as many and as long as the planner's, on average over random misses", () => {
    const planner = createReadPlanner({ alignmentBytes: 512, gapBytesMax: 4096, readBytesMax: 1 << 20 });
    const next = random(9);
    const neuronCount = 4000;
    const strideBytes = 1024;
    for (const missCount of [40, 400, 1200]) {
      const wanted = new WantedReads(neuronCount);
      const plan = new ReadPlan(neuronCount);
      let requests = 0;
      let bytes = 0;
      for (let round = 0; round < 20; round++) {
        wanted.clear();
        for (let id = 0; id < neuronCount; id++)
          if (next() < missCount / neuronCount) wanted.push(id * strideBytes, strideBytes, -1);
        planner.plan(wanted, neuronCount * strideBytes, plan);
        requests += plan.readCount / 20;
        for (let read = 0; read < plan.readCount; read++) bytes += plan.readLengthBytes[read]! / 20;
      }
      const forecast = missReads(missCount, neuronCount, strideBytes, 512, 4096);
      expect(forecast.requestCount / requests).toBeCloseTo(1, 0.7);
      expect((forecast.requestCount * forecast.requestBytes) / bytes).toBeCloseTo(1, 0.7);
    }
  });

  it("come in as many chunks as staging holds of them, and in one where there is room", () => {
    const reads = { requestCount: 100, requestBytes: 3072 };
    // 4096 bytes a request, in staging that holds eight of them.
    expect(stagedChunks(reads, 512, 8 * 4096 + 4 * 512)).toBeCloseTo(12.5, 9);
    expect(stagedChunks(reads, 512, 1 << 20)).toBe(1);
    expect(stagedChunks({ requestCount: 0, requestBytes: 0 }, 512, 4096)).toBe(1);
  });
});

describe("device costs", () => {
  const chunks = [4096, 65_536, 1_048_576];
  const depths = [1, 8, 32];
  /** 0.1 ms a request and 2 GB/s, requests overlapping by depth up to the bandwidth. */
  const speed = (chunk: number, depth: number): number => Math.min(2e9, (depth * chunk) / 1e-4);
  const device: DeviceSpeed = {
    chunkBytes: chunks,
    depths,
    cells: chunks.flatMap((chunkBytes) =>
      depths.map((depth) => ({
        chunkBytes,
        depth,
        origin: "measured" as const,
        bytesPerSecond: speed(chunkBytes, depth),
        spread: 0,
        latency: null,
        readCount: 1,
      })),
    ),
    sequential: { chunkBytes: 1_048_576, depth: 8, bytesPerSecond: 2e9 },
    copyBytesPerSecond: 1e10,
  };

  it("are the measured ones in the table, between neighbours elsewhere, and per request below it", () => {
    expect(readBytesPerSecond(device, 65_536, 8)).toBeCloseTo(2e9, -3);
    expect(readBytesPerSecond(device, 4096, 1)).toBeCloseTo(4.096e7, 0);
    expect(readBytesPerSecond(device, 4096, 1000)).toBeCloseTo(4096 * 32 * 1e4, 0);
    const between = readBytesPerSecond(device, 16_384, 1);
    expect(between).toBeCloseTo(1.6384e8, 0); // the geometric mean, and exact for this device
    expect(readBytesPerSecond(device, 1024, 1)).toBeCloseTo(1.024e7, 0);
  });

  it("a cell that was disturbed is no slower than a shorter read with fewer in flight", () => {
    const cells = device.cells.map((cell) =>
      cell.chunkBytes === 1_048_576 && cell.depth === 8 ? { ...cell, bytesPerSecond: 1e8 } : cell,
    );
    expect(readBytesPerSecond({ ...device, cells }, 1_048_576, 8)).toBeCloseTo(2e9, -3);
  });

  it("a batch takes its stream's time, and never less than one request", () => {
    expect(batchMs(device, 1, 4096, 32)).toBeCloseTo(0.1, 6);
    expect(batchMs(device, 3200, 4096, 32)).toBeCloseTo(10, 6);
    expect(batchMs(device, 2, 65_536, 32)).toBeGreaterThanOrEqual(0.1);
    expect(batchMs(device, 0, 4096, 32)).toBe(0);
  });

  it("a gap is worth what a request costs: nearly 4 KiB more in the time of one at depth 1, nothing at full bandwidth", () => {
    const slow = worthwhileGapBytes(device, 4096, 1);
    expect(slow).toBeGreaterThan(50_000);
    expect(worthwhileGapBytes(device, 1_048_576, 32)).toBe(0);
  });
});

import type { BundleIndex, KernelProgram, KernelSet } from "@flashlm/contracts";
import { describe, expect, it } from "vitest";
import type { Flight } from "../src/flight.js";
import { RecordVerifier } from "../src/record-verifier.js";

const NEURON_COUNT = 8;

/** A flight of one layer's records, one of them a hit, and kernels that note which neurons they were asked to check. */
function scene(when: "first" | "always" | "never", damagedId = -1) {
  const bundle = {
    manifest: { layers: [{ neuronCount: NEURON_COUNT }] },
    recordChecksums: () => Uint32Array.from({ length: NEURON_COUNT }, (_, id) => 100 + id),
  } as unknown as BundleIndex;
  const flight = {
    layerIndex: 0,
    words: new Uint32Array(8),
    ids: new Uint32Array(NEURON_COUNT),
    order: new Uint32Array(NEURON_COUNT),
    checksums: new Uint32Array(NEURON_COUNT),
    verify: {} as KernelProgram,
    hitCount: 1,
    count: 0,
  } as unknown as Flight;
  const checked: number[] = [];
  const run = (): void => {
    for (let k = flight.words[0]!; k < flight.words[1]!; k++) {
      const id = flight.ids[flight.order[k]!]!;
      checked.push(id);
      flight.checksums[k] = id === damagedId ? 0 : 100 + id;
    }
  };
  const verifier = new RecordVerifier(bundle, { run } as unknown as KernelSet, when);
  /** Checks a flight of a hit and of these misses; which neurons were looked at. */
  const check = async (hit: number, misses: readonly number[]): Promise<number[]> => {
    checked.length = 0;
    const ids = [hit, ...misses].sort((a, b) => a - b);
    flight.count = ids.length;
    flight.ids.set(ids);
    flight.order.set([hit, ...misses].map((id) => ids.indexOf(id)));
    verifier.arrange(flight);
    await verifier.check(flight);
    const order = [...flight.order.subarray(0, ids.length)].map((position) => flight.ids[position]!);
    expect(order[0]).toBe(hit);
    expect([...order].sort((a, b) => a - b)).toEqual(ids);
    return checked.sort((a, b) => a - b);
  };
  return check;
}

describe("checksums of records", () => {
  it("are computed of records that have not been checked before, and of no other", async () => {
    const check = scene("first");
    expect(await check(7, [1, 3, 5])).toEqual([1, 3, 5]);
    expect(await check(1, [0, 3, 4, 5])).toEqual([0, 4]);
    expect(await check(4, [2, 1, 6])).toEqual([2, 6]);
    expect(await check(0, [7, 2])).toEqual([7]);
    // The whole layer has been.
    expect(await check(0, [1, 2, 3, 4, 5, 6, 7])).toEqual([]);
  });

  it("are computed at every read, or never", async () => {
    const [always, never] = [scene("always"), scene("never")];
    for (let pass = 0; pass < 2; pass++) {
      expect(await always(7, [1, 3])).toEqual([1, 3]);
      expect(await never(7, [1, 3])).toEqual([]);
    }
  });

  it("name the record that does not match", async () => {
    const check = scene("first", 4);
    expect(await check(1, [2, 3])).toEqual([2, 3]);
    await expect(check(1, [2, 4])).rejects.toMatchObject({
      code: "BUNDLE_CHECKSUM",
      details: { layerIndex: 0, neuronId: 4 },
    });
  });
});

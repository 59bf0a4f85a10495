import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openBundle } from "@flashlm/bundler";
import { type BundleIndex, FlashlmError } from "@flashlm/contracts";
import { loadChecksum } from "@flashlm/flash-io";
import { planEngine } from "@flashlm/runtime";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { joinChecksums } from "../src/checksum.js";
import { headTensor, headTiles, leastTileBytes, tileRowCount } from "../src/head-tiles.js";
import { bundleInto, engineOf, greedy, partsOf } from "./support/engines.js";
import { type Expected, fixture, readJson, temporaryFolder } from "./support/fixtures.js";

describe("checksums of two parts", () => {
  it("join to the checksum of the whole", async () => {
    const { crc32c } = await loadChecksum();
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), fc.uint8Array({ maxLength: 600 }), (first, second) => {
        const whole = crc32c(second, crc32c(first));
        expect(joinChecksums(crc32c(first), crc32c(second), second.length)).toBe(whole);
      }),
    );
  });
});

const path = fixture("families/llama-tied-rope3");
describe.skipIf(path === null)("a head in tiles", () => {
  const folder = temporaryFolder();
  let bundle: BundleIndex;
  beforeAll(async () => {
    bundle = await bundleInto(path!, folder.path, "f32");
  });
  afterAll(folder.dispose);

  it("covers every row once, and every tile but the last one is whole pages", () => {
    const head = headTensor(bundle);
    for (const bufferBytes of [leastTileBytes(head, 4096), 20_000, 1 << 30]) {
      const rowCount = tileRowCount(head, bufferBytes, 4096);
      const tiles = headTiles(bundle, rowCount);
      let row = 0;
      for (const { firstRow, tensor } of tiles) {
        expect(firstRow).toBe(row);
        expect(tensor.lengthBytes).toBeLessThanOrEqual(Math.max(bufferBytes, leastTileBytes(head, 4096)));
        if (firstRow + tensor.rowCount < head.rowCount) expect(tensor.lengthBytes % 4096).toBe(0);
        row += tensor.rowCount;
      }
      expect(row).toBe(head.rowCount);
    }
  });

  /** The smallest budget that a plan takes. */
  function leastBytes(): number {
    try {
      planEngine(partsOf(bundle, {}), { memoryBytes: 1, contextLength: 160, threadCount: 2 });
    } catch (error) {
      if (FlashlmError.isInstance(error)) return 1 + Number(error.details.missingBytes);
    }
    throw new Error("a budget of one byte was accepted");
  }

  it("with a flipped bit is an error, once it has been read", async () => {
    const { prompt } = readJson<Expected>(join(path!, "expected.json"));
    const options = { memoryBytes: leastBytes(), contextLength: 160 };
    const damaged = join(folder.path, "damaged");
    cpSync(bundle.path, damaged, { recursive: true });
    const file = join(damaged, "resident.safetensors");
    const bytes = readFileSync(file);
    const at = headTensor(bundle).offsetBytes + headTensor(bundle).lengthBytes - 5;
    bytes[at] = bytes[at]! ^ 0x10;
    writeFileSync(file, bytes);
    const engine = await engineOf(await openBundle(damaged), { options });
    try {
      expect(engine.mode.head).toBe("streamed");
      const code = await greedy(engine, prompt, 8).then(
        () => "no error",
        (error) => (FlashlmError.isInstance(error) ? error.code : String(error)),
      );
      expect(code).toBe("BUNDLE_CHECKSUM");
    } finally {
      await engine.close();
    }
  });
});

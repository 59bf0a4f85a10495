import { readFileSync } from "node:fs";
import { join } from "node:path";
import { rowBytes } from "@flashlm/contracts";
import { describe, expect, it } from "vitest";
import { chooseDtype, decodeRow, openBundle, openCheckpoint, writeBundle } from "../../src/index.js";
import { hasShared, SHARED } from "../sources/fixtures.js";
import { withFolder } from "./seeded.js";

const SOURCES = [
  ["Q8_0", "q8_0"],
  ["Q4_0", "q4_0"],
  ["Q4_1", "q4_1"],
] as const;

describe.each(SOURCES)("a checkpoint of %s", (type, dtype) => {
  const path = `${SHARED}fixtures/gguf/types-${type}.gguf`;

  it.runIf(hasShared)("becomes a bundle with the very weights of gate, up and attention", () =>
    withFolder(async (folder) => {
      const checkpoint = await openCheckpoint(path);
      const choice = chooseDtype(checkpoint);
      expect(choice.dtype).toBe(dtype);
      expect(choice.lossy.filter((line) => line.includes("gate and up"))).toEqual([]);
      await writeBundle(checkpoint, { outPath: join(folder, "bundle"), dtype, contentHash: "0".repeat(64) });
      const index = await openBundle(join(folder, "bundle"));
      const { hiddenSize, strideBytes, parts } = index.manifest.record;
      const wanted = new Float32Array(hiddenSize);
      const found = new Float32Array(hiddenSize);
      const records = readFileSync(index.filePaths[1]!);
      for (const part of parts.filter((each) => each.part !== "down")) {
        for (let neuron = 0; neuron < index.manifest.layers[1]!.neuronCount; neuron++) {
          const start = index.manifest.layers[1]!.offsetBytes + neuron * strideBytes + part.offsetBytes;
          decodeRow(part.dtype, records.subarray(start, start + part.lengthBytes), found);
          checkpoint.readRows(`layers.1.ffn.${part.part}.weight`, neuron, neuron + 1, wanted);
          expect(found).toEqual(wanted);
        }
      }
      const resident = readFileSync(index.filePaths[0]!);
      // Query rows are stored as rotary pairs in GGUF: their order changes, their blocks do not.
      const query = index.tensor("layers.0.attention.query.weight");
      expect(query.dtype).toBe(dtype);
      for (let row = 0; row < query.rowCount; row++) {
        const start = query.offsetBytes + row * rowBytes(query.dtype, query.columnCount);
        decodeRow(query.dtype, resident.subarray(start), found);
        checkpoint.readRows(query.name, row, row + 1, wanted);
        expect(found).toEqual(wanted);
      }
      checkpoint.close();
    }),
  );
});

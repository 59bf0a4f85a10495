import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  alignUp,
  assert,
  ERROR_CODES,
  FlashlmError,
  headMatrixDtype,
  isExactlySparse,
  ReadBatch,
  rowBytes,
} from "../src/index.js";

describe("errors", () => {
  test("carry code, facts and cause", () => {
    const cause = new Error("EIO");
    const error = new FlashlmError("FLASH_IO", "Expected a read.", { offsetBytes: 4096 }, cause);
    expect(error).toMatchObject({
      name: "FlashlmError",
      code: "FLASH_IO",
      message: "Expected a read.",
      cause,
    });
    expect(error.details).toEqual({ offsetBytes: 4096 });
    expect(error).toBeInstanceOf(Error);
  });

  test("are recognised from another copy of the package, other errors are not", () => {
    const foreign = Object.assign(new Error("x"), { code: "FLASH_IO", [Symbol.for("flashlm.error")]: true });
    expect(FlashlmError.isInstance(foreign)).toBe(true);
    const others = [new Error("x"), { code: "FLASH_IO" }, null, undefined, "FLASH_IO"];
    expect(others.some((value) => FlashlmError.isInstance(value))).toBe(false);
  });

  test("codes are unique and say which part they are from", () => {
    expect(new Set(ERROR_CODES).size).toBe(ERROR_CODES.length);
    const parts =
      /^(FLASH|CHECKPOINT|TOKENIZER|BUNDLE|KERNEL|PREDICTOR|CACHE|BUDGET|ENGINE|SYNTHETIC|TRACE)(_[A-Z]+)+$/;
    expect(ERROR_CODES.filter((code) => !parts.test(code))).toEqual([]);
  });

  test("a broken invariant is no error of flashlm", () => {
    expect(() => assert(true, "holds")).not.toThrow();
    expect(() => assert(0, "never")).toThrow("assertion failed: never");
  });
});

describe("heads", () => {
  test("are in blocks where these fit the rows", () => {
    expect([32, 33, 64, 1].map((columnCount) => headMatrixDtype("q8_0", columnCount))).toEqual([
      "q8_0",
      "f16",
      "q8_0",
      "f16",
    ]);
    expect(headMatrixDtype("f16", 32)).toBe("f16");
  });
});

describe("read batches", () => {
  test("keep what was pushed, in order, until they are cleared", () => {
    const read = fc.record({
      fileIndex: fc.nat(2),
      offsetBytes: fc.nat(2 ** 50),
      lengthBytes: fc.nat(2 ** 31),
      arenaId: fc.nat(1000),
      targetOffsetBytes: fc.nat(2 ** 40),
    });
    fc.assert(
      fc.property(fc.array(read, { maxLength: 20 }), (reads) => {
        const batch = new ReadBatch(20);
        const indexes = reads.map((one) =>
          batch.push(one.fileIndex, one.offsetBytes, one.lengthBytes, {
            arenaId: one.arenaId,
            offsetBytes: one.targetOffsetBytes,
          }),
        );
        expect(indexes).toEqual(reads.map((_, index) => index));
        expect(batch.count).toBe(reads.length);
        for (const [index, one] of reads.entries()) {
          expect({
            fileIndex: batch.fileIndex[index],
            offsetBytes: batch.offsetBytes[index],
            lengthBytes: batch.lengthBytes[index],
            arenaId: batch.targetArenaId[index],
            targetOffsetBytes: batch.targetOffsetBytes[index],
          }).toEqual(one);
        }
        batch.clear();
        expect(batch.count).toBe(0);
      }),
    );
  });
});

describe("sizes", () => {
  test("of rows, as ggml lays blocks out", () => {
    const dtypes = ["f32", "f16", "bf16", "q8_0", "q4_0"] as const;
    expect(dtypes.map((dtype) => rowBytes(dtype, 64))).toEqual([256, 128, 128, 68, 36]);
  });

  test("are rounded up to a multiple", () => {
    expect([0, 1, 511, 512, 513].map((value) => alignUp(value, 512))).toEqual([0, 512, 512, 512, 1024]);
    expect(alignUp(2 ** 40 + 1, 4096)).toBe(2 ** 40 + 4096);
  });
});

test.each([
  ["relu", true],
  ["relu2", true],
  ["silu", false],
  ["gelu", false],
  ["gelu_tanh", false],
] as const)("%s is exactly sparse: %s", (name, sparse) => {
  const ffn = { kind: "gated", neuronCount: 8, upActivation: "none", bias: false } as const;
  expect(isExactlySparse({ ...ffn, activation: { name, threshold: 0 } })).toBe(sparse);
});

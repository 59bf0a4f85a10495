import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type DeviceProfile, FlashlmError, parseDeviceProfile } from "../src/index.js";

const profile: DeviceProfile = {
  formatVersion: 1,
  measuredAt: "2026-11-23T12:00:00.000Z",
  elapsedMs: 20_000,
  device: { deviceId: "254:0", mountPath: "/", source: "/dev/vda", fileSystem: "ext4" },
  backend: "node",
  directIo: true,
  alignmentBytes: 512,
  note: "",
  directAlignmentBytes: null,
  file: { sizeBytes: 2 ** 30, isTemporary: true },
  chunkBytes: [4096, 8192],
  depths: [1, 32],
  cells: [
    {
      chunkBytes: 4096,
      depth: 1,
      origin: "measured",
      bytesPerSecond: 2e7,
      spread: 0.1,
      latency: { meanMs: 0.2, p99Ms: 1 },
      readCount: 90,
    },
    {
      chunkBytes: 4096,
      depth: 32,
      origin: "measured",
      bytesPerSecond: 2e8,
      spread: 0,
      latency: null,
      readCount: 900,
    },
    {
      chunkBytes: 8192,
      depth: 1,
      origin: "interpolated",
      bytesPerSecond: 4e7,
      spread: null,
      latency: null,
      readCount: 0,
    },
    {
      chunkBytes: 8192,
      depth: 32,
      origin: "skipped",
      bytesPerSecond: null,
      spread: null,
      latency: null,
      readCount: 0,
    },
  ],
  sequential: { chunkBytes: 2 ** 20, depth: 8, bytesPerSecond: 3e9 },
  copyBytesPerSecond: 9e9,
};

function failureOf(value: unknown): { code: string; field: unknown } {
  try {
    parseDeviceProfile(value);
  } catch (error) {
    if (FlashlmError.isInstance(error)) return { code: error.code, field: error.details.field };
    throw error;
  }
  return { code: "", field: "" };
}

/** The profile with the value at a path replaced. */
function withValue(path: readonly (string | number)[], value: unknown): unknown {
  const copy = JSON.parse(JSON.stringify(profile));
  const owner = path.slice(0, -1).reduce((node, key) => node[key], copy);
  owner[path.at(-1)!] = value;
  return copy;
}

describe("a device profile", () => {
  test("is the same after JSON, and loses what it does not know", () => {
    expect(parseDeviceProfile(JSON.parse(JSON.stringify(profile)))).toEqual(profile);
    expect(parseDeviceProfile({ ...profile, later: 1 })).toEqual(profile);
  });

  test.each([
    ["formatVersion", ["formatVersion"], 2, "FLASH_PROFILE_VERSION"],
    ["measuredAt", ["measuredAt"], "yesterday", "FLASH_PROFILE_FORMAT"],
    ["device", ["device"], [], "FLASH_PROFILE_FORMAT"],
    ["device.source", ["device", "source"], 4, "FLASH_PROFILE_FORMAT"],
    ["directIo", ["directIo"], "yes", "FLASH_PROFILE_FORMAT"],
    ["alignmentBytes", ["alignmentBytes"], 0, "FLASH_PROFILE_FORMAT"],
    ["chunkBytes", ["chunkBytes"], [8192, 4096], "FLASH_PROFILE_FORMAT"],
    ["depths", ["depths"], [], "FLASH_PROFILE_FORMAT"],
    ["depths[1]", ["depths", 1], "32", "FLASH_PROFILE_FORMAT"],
    ["cells", ["cells"], [], "FLASH_PROFILE_FORMAT"],
    ["cells[1]", ["cells", 1, "depth"], 64, "FLASH_PROFILE_FORMAT"],
    ["cells[0].origin", ["cells", 0, "origin"], "guessed", "FLASH_PROFILE_FORMAT"],
    ["cells[0].bytesPerSecond", ["cells", 0, "bytesPerSecond"], null, "FLASH_PROFILE_FORMAT"],
    ["cells[0].latency.p99Ms", ["cells", 0, "latency", "p99Ms"], -1, "FLASH_PROFILE_FORMAT"],
    ["cells[2].latency", ["cells", 2, "spread"], 0.5, "FLASH_PROFILE_FORMAT"],
    ["cells[3].bytesPerSecond", ["cells", 3, "bytesPerSecond"], 5, "FLASH_PROFILE_FORMAT"],
    ["copyBytesPerSecond", ["copyBytesPerSecond"], null, "FLASH_PROFILE_FORMAT"],
  ] as const)("with a wrong %s is refused by name", (field, path, value, code) => {
    const failure = failureOf(withValue(path, value));
    expect(failure.code).toBe(code);
    if (code === "FLASH_PROFILE_FORMAT") expect(failure.field).toBe(field);
  });

  test("whatever comes, the error is one of the two", () => {
    const codes = ["FLASH_PROFILE_FORMAT", "FLASH_PROFILE_VERSION"];
    fc.assert(
      fc.property(fc.anything(), (value) => {
        expect(codes).toContain(failureOf(value).code);
        expect(codes).toContain(failureOf({ ...profile, cells: value }).code);
      }),
      { seed: 2 },
    );
  });
});

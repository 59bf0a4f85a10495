import { DEVICE_PROFILE_VERSION, type DeviceProfile } from "@flashlm/contracts";

const CHUNKS_BYTES: readonly number[] = Array.from({ length: 11 }, (_, power) => 4096 * 2 ** power);
const DEPTHS: readonly number[] = [1, 2, 4, 8, 16, 32, 64, 128];

/** A profile in which a request of `chunkBytes` adds `requestMs(chunkBytes, depth)` to a queue of that depth. */
export function profileOf(
  requestMs: (chunkBytes: number, depth: number) => number,
  other: Partial<DeviceProfile> = {},
): DeviceProfile {
  return {
    formatVersion: DEVICE_PROFILE_VERSION,
    measuredAt: "2026-11-23T12:00:00.000Z",
    elapsedMs: 1,
    device: { deviceId: "254:0", mountPath: "/", source: "/dev/vda", fileSystem: "ext4" },
    backend: "node",
    directIo: true,
    alignmentBytes: 512,
    note: "",
    directAlignmentBytes: 512,
    file: { sizeBytes: 2 ** 30, isTemporary: true },
    chunkBytes: CHUNKS_BYTES,
    depths: DEPTHS,
    cells: CHUNKS_BYTES.flatMap((chunkBytes) =>
      DEPTHS.map((depth) => ({
        chunkBytes,
        depth,
        origin: "measured" as const,
        bytesPerSecond: (1000 * chunkBytes) / requestMs(chunkBytes, depth),
        spread: 0,
        latency: null,
        readCount: 100,
      })),
    ),
    sequential: { chunkBytes: 2 ** 20, depth: 8, bytesPerSecond: 2e9 },
    copyBytesPerSecond: 10e9,
    ...other,
  };
}

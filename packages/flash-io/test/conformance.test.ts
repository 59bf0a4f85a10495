import { flashReaderConformance, readPlannerConformance } from "@flashlm/contracts/testing";
// The built package, because the helper thread is a file of it.
import {
  createFaultyReader,
  createMemoryReader,
  createNodeReader,
  createReadPlanner,
  createTracingReader,
  type FlashReaderOptions,
  openFlashReader,
} from "@flashlm/flash-io";
import { works } from "./native-backends.js";
import { profileOf } from "./support/profiles.js";

/** A request costs 0.1 ms, a byte what it costs at 2 GB/s: a gap of up to 200 kB is cheaper than a request. */
const seekingDisk = profileOf((chunkBytes) => 0.1 + chunkBytes / 2e6);

flashReaderConformance({ name: "memory", create: createMemoryReader, holdsWholeFiles: true });
flashReaderConformance({ name: "node", create: (paths) => createNodeReader(paths) });
flashReaderConformance({
  name: "node through the page cache, 3 in flight",
  create: (paths) => createNodeReader(paths, { directIo: "off", inFlightMax: 3 }),
});
flashReaderConformance({
  name: "tracing (node, 1 in flight)",
  create: async (paths) => createTracingReader(await createNodeReader(paths, { inFlightMax: 1 }), () => {}),
});
flashReaderConformance({
  name: "faulty (memory, no faults)",
  create: async (paths) => createFaultyReader(await createMemoryReader(paths), { seed: 1 }),
  holdsWholeFiles: true,
});
/** Native backends on a machine that can build or was given the addon; elsewhere "auto" stands for what is left. */
const NATIVE: readonly FlashReaderOptions[] = [
  { backend: "io_uring" },
  { backend: "io_uring", directIo: "off", inFlightMax: 3 },
  { backend: "io_uring", awakeUs: 300 },
  { backend: "pread" },
  { backend: "pread", directIo: "off", inFlightMax: 2 },
];
flashReaderConformance({ name: "auto", create: (paths) => openFlashReader(paths) });
for (const options of NATIVE) {
  if (await works(options)) {
    flashReaderConformance({
      name: JSON.stringify(options),
      create: (paths) => openFlashReader(paths, options),
    });
  }
}
readPlannerConformance({ name: "merging", create: createReadPlanner });
readPlannerConformance({
  name: "merging by a device profile",
  create: (choice) => createReadPlanner({ ...choice, profile: seekingDisk }),
});

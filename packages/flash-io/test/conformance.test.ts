import { flashReaderConformance, readPlannerConformance } from "@flashlm/contracts/testing";
// The built package, because the helper thread is a file of it.
import {
  createFaultyReader,
  createMemoryReader,
  createNodeReader,
  createReadPlanner,
  createTracingReader,
} from "@flashlm/flash-io";

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
readPlannerConformance({ name: "merging", create: createReadPlanner });

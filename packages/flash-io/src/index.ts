export { type Checksum, loadChecksum } from "./checksum.js";
export { createFaultyReader, FAULT_KINDS, type FaultKind, type FaultOptions } from "./faulty-reader.js";
export { createMemoryReader, type MemoryFile } from "./memory-reader.js";
export { createNodeReader, type NodeReaderOptions } from "./node-reader.js";
export {
  type FlashReaderOptions,
  openFlashReader,
  READER_BACKENDS,
  type ReaderBackend,
} from "./open-reader.js";
export { createReadPlanner, type ReadPlannerOptions } from "./read-planner.js";
export type { DirectIoMode } from "./shared-rings.js";
export { createTracingReader, type TracedRead } from "./tracing-reader.js";

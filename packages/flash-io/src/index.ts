export { type Checksum, loadChecksum } from "./checksum.js";
export { identifyDevice } from "./device/device-identity.js";
export {
  DEVICE_ARENA_BYTES,
  type MeasureOptions,
  type MeasurePhase,
  type MeasureProgress,
  measureDevice,
} from "./device/measure-device.js";
export { FILE_BYTES_MIN } from "./device/measured-file.js";
export { openBestReader, type ReaderFactory } from "./device/reader-factory.js";
export { createFaultyReader, FAULT_KINDS, type FaultKind, type FaultOptions } from "./faulty-reader.js";
export { createMemoryReader, type MemoryFile } from "./memory-reader.js";
export { createNodeReader, type NodeReaderOptions } from "./node-reader.js";
export {
  ENGINE_AWAKE_US,
  type FlashReaderOptions,
  openFlashReader,
  READER_BACKENDS,
  type ReaderBackend,
} from "./open-reader.js";
export { createReadPlanner, type ReadPlannerOptions } from "./read-planner.js";
export type { DirectIoMode } from "./shared-rings.js";
export { createTracingReader, type TracedRead } from "./tracing-reader.js";

export { decodeRow, encodeRow } from "./encode-row.js";
export { dequantiseRow, SOURCE_TYPES, type SourceTypeInfo } from "./source-types.js";

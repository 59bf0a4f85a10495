import {
  alignUp,
  BUNDLE_PAGE_BYTES,
  isExactlySparse,
  type ModelConfig,
  type RecordLayout,
  rowBytes,
  TENSOR_ALIGNMENT_BYTES,
  type WeightDtype,
} from "@flashlm/contracts";
import type { Checkpoint } from "../sources/checkpoint.js";
import { type BundleDtypes, fitsBlocks, partDtype, recordLayout, residentDtypeFor } from "./record-layout.js";
import { encodeHeader, type HeaderEntry, headerDtype } from "./safetensors-header.js";

/** A tensor whose place in its file is known; `offsetBytes` counts from the start of the file. */
export interface PlannedTensor {
  readonly name: string;
  readonly dtype: WeightDtype;
  readonly rowCount: number;
  readonly columnCount: number;
  readonly fileIndex: 0 | 1 | 2;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

/** Bytes before the data of a file, and its whole size. */
export interface PlannedFile {
  readonly name: string;
  readonly header: Uint8Array;
  readonly sizeBytes: number;
}

/** Where everything of a bundle stands, before any weight is read. */
export interface BundlePlan {
  readonly record: RecordLayout;
  readonly layers: readonly { readonly neuronCount: number; readonly offsetBytes: number }[];
  readonly tensors: readonly PlannedTensor[];
  /** resident, neurons, checksums, and predictor where the model has one. */
  readonly files: readonly PlannedFile[];
  /** Per layer: where its record checksums and its order stand in `checksums.safetensors`. */
  readonly tables: readonly { readonly crcOffsetBytes: number; readonly orderOffsetBytes: number }[];
}

/** Name of the file with record checksums and order. */
export const CHECKSUMS_FILE = "checksums.safetensors";

/** A tensor before it has a place. */
export interface Shape {
  readonly name: string;
  readonly dtype: WeightDtype;
  readonly rowCount: number;
  readonly columnCount: number;
}

const LAYER_ORDER: readonly string[] = [
  "attention_norm.weight",
  "attention_norm.bias",
  "attention.query.weight",
  "attention.query.bias",
  "attention.key.weight",
  "attention.key.bias",
  "attention.value.weight",
  "attention.value.bias",
  "attention.query_norm.weight",
  "attention.query_norm.bias",
  "attention.key_norm.weight",
  "attention.key_norm.bias",
  "attention.output.weight",
  "attention.output.bias",
  "attention_output_norm.weight",
  "attention_output_norm.bias",
  "ffn_norm.weight",
  "ffn_norm.bias",
  "ffn_output_norm.weight",
  "ffn_output_norm.bias",
  "ffn.gate.bias",
  "ffn.up.bias",
  "ffn.down.bias",
];
const GLOBAL_ORDER: readonly string[] = [
  "embedding.weight",
  "embedding.projection.weight",
  "position.weight",
  "head.projection.weight",
  "head.weight",
  "head.bias",
  "final_norm.weight",
  "final_norm.bias",
];

/** Lays out a bundle of `checkpoint` in these dtypes. Pure: the same input gives the same bytes. */
export function planBundle(checkpoint: Checkpoint, dtypes: BundleDtypes): BundlePlan {
  const { model } = checkpoint;
  const { dtype } = dtypes;
  const record = recordLayout(model.ffn.kind, model.hiddenSize, dtype);
  const resident = residentShapes(checkpoint, dtypes);
  const predictor = predictorShapes(model, dtype);
  return layOut(model, record, resident, predictor);
}

function rank(order: readonly string[], name: string): number {
  const at = order.indexOf(name);
  return at < 0 ? order.length : at;
}

/** Groups of tensors; each group begins on a page. */
function residentShapes(checkpoint: Checkpoint, dtypes: BundleDtypes): Shape[][] {
  const groups: Shape[][] = Array.from({ length: checkpoint.model.layerCount }, () => []);
  const globals: Shape[] = [];
  for (const { name, shape, sourceType } of checkpoint.tensors.values()) {
    const match = /^layers\.(\d+)\.(.+)$/.exec(name);
    if (match !== null && /^ffn\.(gate|up|down)\.weight$/.test(match[2]!)) continue;
    const columnCount = shape.at(-1) ?? 1;
    const isMatrix = shape.length > 1;
    const rowCount = isMatrix ? shape.slice(0, -1).reduce((product, size) => product * size, 1) : 1;
    const entry: Shape = {
      name,
      dtype: isMatrix ? residentDtypeFor(dtypes, { name, rowCount, columnCount }, sourceType) : "f32",
      rowCount,
      columnCount,
    };
    if (match === null) globals.push(entry);
    else groups[Number(match[1])]?.push(entry);
  }
  const byOrder = (order: readonly string[], prefix: RegExp) => (a: Shape, b: Shape) => {
    const nameA = a.name.replace(prefix, "");
    const nameB = b.name.replace(prefix, "");
    return rank(order, nameA) - rank(order, nameB) || (nameA < nameB ? -1 : 1);
  };
  for (const group of groups) group.sort(byOrder(LAYER_ORDER, /^layers\.\d+\./));
  globals.sort(byOrder(GLOBAL_ORDER, /^$/));
  return [...groups, ...globals.map((entry) => [entry])];
}

function predictorShapes(model: ModelConfig, dtype: WeightDtype): Shape[][] {
  const groups: Shape[][] = [];
  const { ffn, hiddenSize: columnCount } = model;
  const isGated = ffn.kind === "gated";
  const rowCount = ffn.neuronCount;
  const vector = (name: string): Shape => ({ name, dtype: "f32", rowCount: 1, columnCount: rowCount });
  for (let layer = 0; layer < model.layerCount; layer++) {
    const prefix = `layers.${layer}.`;
    if (isGated && fitsBlocks(columnCount)) {
      groups.push([
        { name: `${prefix}shadow.gate.weight`, dtype: "q4_0", rowCount, columnCount },
        { name: `${prefix}shadow.up.weight`, dtype: "q4_0", rowCount, columnCount },
        vector(`${prefix}shadow.down_norm`),
      ]);
    }
    if (!isExactlySparse(ffn)) continue;
    // What the ReLU is applied to: the gate, in a plain FFN the up projection, in dReLU both.
    const first = isGated ? ("gate" as const) : ("up" as const);
    const parts = isGated && ffn.upActivation === "relu" ? (["gate", "up"] as const) : [first];
    const exact = parts.map(
      (part): Shape => ({
        name: `${prefix}exact.${part}.weight`,
        dtype: partDtype(dtype, part),
        rowCount,
        columnCount,
      }),
    );
    groups.push(ffn.bias && parts.length === 1 ? [...exact, vector(`${prefix}exact.${first}.bias`)] : exact);
  }
  return groups;
}

/** Places groups of tensors one after the other, each group on a page; offsets count from the start of the file's data. */
export function placeTensorGroups(
  groups: readonly (readonly Shape[])[],
  fileIndex: 0 | 2,
): { tensors: PlannedTensor[]; dataBytes: number } {
  const tensors: PlannedTensor[] = [];
  let end = 0;
  for (const group of groups) {
    end = alignUp(end, BUNDLE_PAGE_BYTES);
    for (const shape of group) {
      const offsetBytes = alignUp(end, TENSOR_ALIGNMENT_BYTES);
      const lengthBytes = shape.rowCount * rowBytes(shape.dtype, shape.columnCount);
      const { name, dtype, rowCount, columnCount } = shape;
      tensors.push({ name, dtype, rowCount, columnCount, fileIndex, offsetBytes, lengthBytes });
      end = offsetBytes + lengthBytes;
    }
  }
  return { tensors, dataBytes: alignUp(end, BUNDLE_PAGE_BYTES) };
}

/** Header of a file of tensors whose offsets count from the start of its data. */
export function tensorFileHeader(tensors: readonly PlannedTensor[], dataBytes: number): Uint8Array {
  const entries = tensors.map((tensor): HeaderEntry => {
    const { name, offsetBytes, lengthBytes, rowCount, columnCount } = tensor;
    const dtype = headerDtype(tensor.dtype);
    const columns = dtype === "U8" ? rowBytes(tensor.dtype, columnCount) : columnCount;
    return { name, dtype, shape: [rowCount, columns], offsetBytes, lengthBytes };
  });
  return encodeHeader(entries, dataBytes);
}

function layOut(
  model: ModelConfig,
  record: RecordLayout,
  resident: Shape[][],
  predictor: Shape[][],
): BundlePlan {
  const files: PlannedFile[] = [];
  const tensors: PlannedTensor[] = [];
  const addTensorFile = (name: string, groups: Shape[][], fileIndex: 0 | 2): void => {
    const placed = placeTensorGroups(groups, fileIndex);
    const header = tensorFileHeader(placed.tensors, placed.dataBytes);
    for (const tensor of placed.tensors)
      tensors.push({ ...tensor, offsetBytes: tensor.offsetBytes + header.length });
    files.push({ name, header, sizeBytes: header.length + placed.dataBytes });
  };
  addTensorFile("resident.safetensors", resident, 0);
  const neuronCounts = new Array<number>(model.layerCount).fill(model.ffn.neuronCount);
  const neurons = planNeurons(neuronCounts, record.strideBytes);
  const checksums = planChecksums(neuronCounts);
  files.push(neurons.file, checksums.file);
  if (predictor.length > 0) addTensorFile("predictor.safetensors", predictor, 2);
  return { record, layers: neurons.layers, tensors, files, tables: checksums.tables };
}

/** Places the records of each layer on a page of `neurons.safetensors`. */
export function planNeurons(
  neuronCounts: readonly number[],
  strideBytes: number,
): { file: PlannedFile; layers: { neuronCount: number; offsetBytes: number }[] } {
  let end = 0;
  const entries = neuronCounts.map((neuronCount, layer): HeaderEntry => {
    const offsetBytes = alignUp(end, BUNDLE_PAGE_BYTES);
    const lengthBytes = neuronCount * strideBytes;
    end = offsetBytes + lengthBytes;
    return {
      name: `layers.${layer}.records`,
      dtype: "U8",
      shape: [neuronCount, strideBytes],
      offsetBytes,
      lengthBytes,
    };
  });
  const dataBytes = alignUp(end, BUNDLE_PAGE_BYTES);
  const header = encodeHeader(entries, dataBytes);
  const layers = entries.map((entry, layer) => ({
    neuronCount: neuronCounts[layer]!,
    offsetBytes: entry.offsetBytes + header.length,
  }));
  return { file: { name: "neurons.safetensors", header, sizeBytes: header.length + dataBytes }, layers };
}

/** Places checksums and order of each layer in `checksums.safetensors`, without gaps. */
export function planChecksums(neuronCounts: readonly number[]): {
  file: PlannedFile;
  tables: { crcOffsetBytes: number; orderOffsetBytes: number }[];
} {
  let end = 0;
  const entries: HeaderEntry[] = [];
  for (const [layer, neuronCount] of neuronCounts.entries()) {
    for (const table of ["crc32c", "order"]) {
      const lengthBytes = neuronCount * 4;
      entries.push({
        name: `layers.${layer}.${table}`,
        dtype: "U32",
        shape: [neuronCount],
        offsetBytes: end,
        lengthBytes,
      });
      end += lengthBytes;
    }
  }
  const header = encodeHeader(entries, end);
  const tables = neuronCounts.map((_count, layer) => ({
    crcOffsetBytes: header.length + entries[layer * 2]!.offsetBytes,
    orderOffsetBytes: header.length + entries[layer * 2 + 1]!.offsetBytes,
  }));
  return { file: { name: CHECKSUMS_FILE, header, sizeBytes: header.length + end }, tables };
}

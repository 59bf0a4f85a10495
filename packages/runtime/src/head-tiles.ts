import { alignUp, type BundleIndex, type BundleTensor } from "@flashlm/contracts";
import type { BlockExtent } from "./blocks.js";

/** Some rows of the head, which are read and multiplied together where the head does not stay in memory. */
export interface HeadTile {
  readonly name: string;
  readonly firstRow: number;
  readonly tensor: BundleTensor;
  readonly extent: BlockExtent;
}

/** The tensor whose rows give the logits. */
export function headTensor(bundle: BundleIndex): BundleTensor {
  return bundle.tensor(bundle.manifest.model.tiedEmbeddings ? "embedding.weight" : "head.weight");
}

/** The fewest rows that are whole pages, so that every tile begins on one. */
function pageRows({ lengthBytes, rowCount }: BundleTensor, pageBytes: number): number {
  const rowBytes = lengthBytes / rowCount;
  let rows = 1;
  while ((rows * rowBytes) % pageBytes !== 0) rows *= 2;
  return rows;
}

/** Bytes of the smallest tile that a head can be cut into. */
export function leastTileBytes(tensor: BundleTensor, pageBytes: number): number {
  const rowBytes = tensor.lengthBytes / tensor.rowCount;
  return alignUp(Math.min(pageRows(tensor, pageBytes), tensor.rowCount) * rowBytes, pageBytes);
}

/** Rows of a tile that fits `bufferBytes`, at least {@link leastTileBytes}. */
export function tileRowCount(tensor: BundleTensor, bufferBytes: number, pageBytes: number): number {
  const rows = pageRows(tensor, pageBytes);
  const rowBytes = tensor.lengthBytes / tensor.rowCount;
  return Math.min(tensor.rowCount, Math.max(1, Math.floor(bufferBytes / (rows * rowBytes))) * rows);
}

/** The head in tiles of `rowCount` rows, the last one of what is left. */
export function headTiles(bundle: BundleIndex, rowCount: number): HeadTile[] {
  const whole = headTensor(bundle);
  const rowBytes = whole.lengthBytes / whole.rowCount;
  return Array.from({ length: Math.ceil(whole.rowCount / rowCount) }, (_, index) => {
    const firstRow = index * rowCount;
    const rows = Math.min(rowCount, whole.rowCount - firstRow);
    const offsetBytes = whole.offsetBytes + firstRow * rowBytes;
    const tensor = { ...whole, rowCount: rows, offsetBytes, lengthBytes: rows * rowBytes };
    // Only the whole tensor has a checksum: the tiles' own are joined where they are used.
    return { name: `head.${index}`, firstRow, tensor, extent: { ...tensor, tensors: [] } };
  });
}

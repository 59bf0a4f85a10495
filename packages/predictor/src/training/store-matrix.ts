import { type HeadDtype, rowBytes } from "@flashlm/contracts";
import { toHalfInto } from "./half.js";
import type { Matrix, Product, Workspace } from "./workspace.js";

/** A matrix as a bundle stores it, and the same in kernel memory. */
export interface StoredMatrix {
  readonly bytes: Uint8Array;
  readonly weight: Required<Pick<Product, "weight" | "dtype" | "rowCount" | "columnCount">>;
}

/** Rounds a matrix into the memory of another one of its size. */
export async function storeMatrix(
  workspace: Workspace,
  from: Matrix,
  to: Matrix,
  rowCount: number,
  columnCount: number,
  dtype: HeadDtype,
): Promise<StoredMatrix> {
  const lengthBytes = rowCount * rowBytes(dtype, columnCount);
  const bytes = workspace.kernels.memory.bytes(to.handle, lengthBytes);
  if (dtype === "f16")
    toHalfInto(from.floats, new Uint16Array(bytes.buffer, bytes.byteOffset, lengthBytes / 2));
  // Weights too large for a block's scale make scores that are not numbers, which count as predicted: such a head names all, and another one is kept.
  else
    await workspace.run(
      workspace.compile({
        op: "convert",
        tokenCount: workspace.word(rowCount),
        dim: columnCount,
        sourceDtype: "f32",
        targetDtype: dtype,
        source: from.handle,
        target: to.handle,
      }),
    );
  return { bytes: bytes.slice(), weight: { weight: to.handle, dtype, rowCount, columnCount } };
}

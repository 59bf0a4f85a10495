import type { KernelOp } from "@flashlm/contracts";
import { FlashlmError, rowBytes } from "@flashlm/contracts";
import type { Views } from "./views.js";
import { weightAt } from "./weights.js";

/** Rows of a table, such as embeddings. @throws KERNEL_SHAPE for a row id beyond the table. */
export function gatherRows(op: Extract<KernelOp, { op: "gatherRows" }>, views: Views): void {
  const { dtype, rowCount, columnCount, base } = op.table;
  const table = views.resolve(base);
  for (let token = 0; token < views.word(op.tokenCount); token++) {
    const row = views.wordAt(op.rowIds, token);
    if (row >= rowCount) {
      throw new FlashlmError("KERNEL_SHAPE", `gatherRows: expected row ids below ${rowCount}, got ${row}`, {
        row,
      });
    }
    const target = op.target.offsetBytes / 4 + token * columnCount;
    const start = table + row * rowBytes(dtype, columnCount);
    for (let column = 0; column < columnCount; column++) {
      const value = (op.scale ?? 1) * weightAt(views, dtype, start, column);
      views.floats[target + column] = op.accumulate ? views.floats[target + column]! + value : value;
    }
  }
}

import { readSync } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { type BundleTensor, FlashlmError } from "@flashlm/contracts";
import { crc32c } from "../format/crc32c.js";
import { writeAt } from "./layer-writer.js";

/** Bytes held at once: a block that is written, and one that is read. */
const BLOCK_BYTES: number = 8 * 1024 * 1024;

/** Rows of one tensor (or the records of a layer) that change places. */
export interface RewriteStep {
  readonly name: string;
  readonly offsetBytes: number;
  readonly rowBytes: number;
  /** New row to present row. */
  readonly order: Uint32Array;
  /** Checksum of each row in its new place, or null where rows have none. */
  readonly rowChecksums: Uint32Array | null;
  /** Present checksum of all rows, or null where rows have their own. */
  readonly checksum: number | null;
}

/** Fills `target` from `positionBytes`. Synchronous: a row takes microseconds, a promise takes more. */
function readExactly(from: FileHandle, target: Uint8Array, positionBytes: number): void {
  let done = 0;
  while (done < target.length) {
    const count = readSync(from.fd, target, done, target.length - done, positionBytes + done);
    if (count === 0) {
      const message = `a file of the bundle ends before byte ${positionBytes + target.length}: make the bundle again`;
      throw new FlashlmError("BUNDLE_TRUNCATED", message, { positionBytes });
    }
    done += count;
  }
}

/** Copies bytes `begin` to before `end` to the same place; returns their CRC32C. `to` may be null to read only. */
export async function copyRange(
  from: FileHandle,
  to: FileHandle | null,
  begin: number,
  end: number,
  onBytes: (lengthBytes: number) => void,
): Promise<number> {
  const block = new Uint8Array(Math.max(0, Math.min(BLOCK_BYTES, end - begin)));
  let checksum = 0;
  for (let at = begin; at < end; at += block.length) {
    const bytes = block.subarray(0, Math.min(block.length, end - at));
    readExactly(from, bytes, at);
    checksum = crc32c(bytes, checksum);
    if (to !== null) await writeAt(to, bytes, at);
    onBytes(to === null ? 0 : bytes.length);
  }
  return checksum;
}

function damaged(name: string): FlashlmError {
  return new FlashlmError(
    "BUNDLE_CHECKSUM",
    `${name} is damaged (its checksum differs): make the bundle again`,
    { name },
  );
}

/** Copies a tensor to another place and returns its CRC32C. @throws BUNDLE_CHECKSUM where it is damaged. */
export async function copyTensor(
  from: FileHandle,
  to: FileHandle,
  tensor: BundleTensor,
  toOffsetBytes: number,
): Promise<number> {
  const { name, offsetBytes, lengthBytes } = tensor;
  const block = new Uint8Array(Math.min(BLOCK_BYTES, lengthBytes));
  let checksum = 0;
  for (let done = 0; done < lengthBytes; done += block.length) {
    const bytes = block.subarray(0, Math.min(block.length, lengthBytes - done));
    readExactly(from, bytes, offsetBytes + done);
    checksum = crc32c(bytes, checksum);
    await writeAt(to, bytes, toOffsetBytes + done);
  }
  if (checksum !== tensor.crc32c) throw damaged(name);
  return checksum;
}

/** Writes the rows of a step in their new order; returns the CRC32C of all. @throws BUNDLE_CHECKSUM where the present rows are damaged. */
export async function permuteRows(
  from: FileHandle,
  to: FileHandle,
  step: RewriteStep,
  onBytes: (lengthBytes: number) => void,
): Promise<number> {
  const { offsetBytes, order, rowBytes, rowChecksums } = step;
  if (step.checksum !== null) {
    const present = await copyRange(from, null, offsetBytes, offsetBytes + order.length * rowBytes, onBytes);
    if (present !== step.checksum) throw damaged(step.name);
  }
  const blockRows = Math.max(1, Math.min(order.length, Math.floor(BLOCK_BYTES / rowBytes)));
  const block = new Uint8Array(blockRows * rowBytes);
  let checksum = 0;
  for (let begin = 0; begin < order.length; begin += blockRows) {
    const count = Math.min(blockRows, order.length - begin);
    for (let at = 0; at < count; at++) {
      const row = block.subarray(at * rowBytes, (at + 1) * rowBytes);
      readExactly(from, row, offsetBytes + order[begin + at]! * rowBytes);
      if (rowChecksums !== null && crc32c(row) !== rowChecksums[begin + at])
        throw damaged(`record ${order[begin + at]} of ${step.name}`);
    }
    const bytes = block.subarray(0, count * rowBytes);
    checksum = crc32c(bytes, checksum);
    await writeAt(to, bytes, offsetBytes + begin * rowBytes);
    onBytes(bytes.length);
  }
  return checksum;
}

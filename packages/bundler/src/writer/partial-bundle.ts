import { type FileHandle, mkdir, open, readdir, readFile, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { type BundleDocument, decodeBundleJson } from "../format/bundle-json.js";
import type { BundlePlan } from "../format/bundle-plan.js";
import type { DtypeChoice } from "../format/dtype-choice.js";
import { readTextIfAny, refuseForeign, replaceDurably } from "./install-bundle.js";
import { writeAt } from "./layer-writer.js";
import { JOURNAL_FILE } from "./own-names.js";
import { sectionsOf } from "./sections.js";

/** Finished sections of a partial bundle: their tensors' checksums. */
export interface Journal {
  readonly key: string;
  readonly sections: Record<string, Record<string, number>>;
}

/** What a partial bundle must agree with to be continued. */
export interface PartialKey {
  readonly contentHash: string;
  readonly choice: DtypeChoice;
  readonly plan: BundlePlan;
}

/** True where the partial folder is a whole bundle of this key: the process ended just before it was installed. */
export async function isComplete(partialPath: string, key: PartialKey): Promise<boolean> {
  try {
    const path = join(partialPath, "bundle.json");
    if ((await readTextIfAny(join(partialPath, JOURNAL_FILE))) !== null) return false;
    const document = decodeBundleJson(await readFile(path), path) as BundleDocument;
    const { record, layers, tensors } = key.plan;
    const planned = JSON.stringify([
      key.contentHash,
      [key.choice.dtype, key.choice.residentDtype],
      key.choice.lossy,
      record,
      layers,
      tensors.map((tensor) => [tensor.name, tensor.offsetBytes]),
    ]);
    const present = JSON.stringify([
      document.source.contentHash,
      [document.dtype, document.residentDtype],
      document.lossy,
      document.record,
      document.layers,
      document.tensors.map((tensor) => [tensor.name, tensor.offsetBytes]),
    ]);
    if (planned !== present || document.calibration !== null) return false;
    for (const file of document.files) {
      if ((await stat(join(partialPath, file.name))).size !== file.sizeBytes) return false;
    }
    return true;
  } catch {
    return false; // Anything unreadable is not complete and is written again.
  }
}

/** The journal of a partial bundle with this key; a partial of anything else is emptied. */
export async function openPartial(partialPath: string, key: string): Promise<Journal> {
  await mkdir(partialPath, { recursive: true });
  const names = await readdir(partialPath);
  await refuseForeign(partialPath);
  const text = await readTextIfAny(join(partialPath, JOURNAL_FILE));
  if (text !== null) {
    try {
      const journal = JSON.parse(text) as Journal;
      if (journal.key === key && typeof journal.sections === "object" && journal.sections !== null)
        return journal;
    } catch {
      // A damaged journal is as good as none.
    }
  }
  for (const name of names) await rm(join(partialPath, name), { force: true });
  const journal: Journal = { key, sections: {} };
  await replaceDurably(join(partialPath, JOURNAL_FILE), JSON.stringify(journal));
  return journal;
}

/** Bytes on flash of a partial bundle, which a resumed one does not need again. */
export async function writtenBytes(partialPath: string): Promise<number> {
  let sum = 0;
  for (const name of await readdir(partialPath)) {
    const stats = await stat(join(partialPath, name));
    sum += Math.min(stats.size, stats.blocks * 512);
  }
  return sum;
}

/** Cuts off what an interrupted section left behind the finished ones. */
export async function truncateGarbage(
  plan: BundlePlan,
  files: readonly FileHandle[],
  journal: Journal,
): Promise<void> {
  const ends = plan.files.map((file) => file.header.length);
  const extend = (index: number, end: number): void => {
    if (index >= 0) ends[index] = Math.max(ends[index]!, end);
  };
  const indexOf = (fileIndex: number): number => (fileIndex === 2 ? 3 : fileIndex);
  for (const section of sectionsOf(plan)) {
    const done = journal.sections[section.name];
    if (done === undefined) continue;
    for (const tensor of plan.tensors) {
      if (tensor.name in done) extend(indexOf(tensor.fileIndex), tensor.offsetBytes + tensor.lengthBytes);
    }
    if (section.layer === null) continue;
    const { neuronCount, offsetBytes } = plan.layers[section.layer]!;
    extend(1, offsetBytes + neuronCount * plan.record.strideBytes);
    extend(2, plan.tables[section.layer]!.orderOffsetBytes + neuronCount * 4);
  }
  for (const [index, file] of files.entries()) {
    if ((await file.stat()).size > ends[index]!) await file.truncate(ends[index]);
    await writeAt(file, plan.files[index]!.header, 0);
  }
}

/** Opens a file for writing without emptying it; makes it where it is missing. */
export async function openForUpdate(path: string): Promise<FileHandle> {
  try {
    return await open(path, "r+");
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== "ENOENT") throw cause;
    return open(path, "w+");
  }
}

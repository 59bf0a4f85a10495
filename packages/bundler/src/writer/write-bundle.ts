import { existsSync } from "node:fs";
import { type FileHandle, mkdir, open, readdir, readFile, rm, stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { type BundleTensor, FlashlmError, type WeightDtype } from "@flashlm/contracts";
import { type BundleFileEntry, encodeBundleJson } from "../format/bundle-json.js";
import { type BundlePlan, CHECKSUMS_FILE, type PlannedTensor, planBundle } from "../format/bundle-plan.js";
import { crc32c } from "../format/crc32c.js";
import { chooseDtype, type DtypeChoice } from "../format/dtype-choice.js";
import type { Checkpoint } from "../sources/checkpoint.js";
import { convertTokenizer } from "../tokenizer/index.js";
import { acquireBundleLock } from "./bundle-lock.js";
import { installFolder, readTextIfAny, recoverReplacement, replaceDurably, requireFreeSpace, writeDurably, writeError } from "./install-bundle.js";
import { type SectionTarget, writeAt, writeLayer, writeTensor } from "./layer-writer.js";

/** How far a long operation is. */
export interface BundleProgress {
  readonly phase: "write" | "verify" | "rewrite";
  readonly doneBytes: number;
  readonly totalBytes: number;
}

/** Options of {@link writeBundle}. */
export interface WriteBundleOptions {
  /** Folder of the bundle; a bundle that is there is replaced at the end, anything else is refused. */
  readonly outPath: string;
  /** Default: what keeps the source's quality, see `chooseDtype`. */
  readonly dtype?: WeightDtype;
  /** Hash of the checkpoint's content; what was written for the same hash and dtype is resumed. */
  readonly contentHash: string;
  readonly onProgress?: (progress: BundleProgress) => void;
  /** Stops the work with FLASH_ABORTED; what is written stays and is resumed by the next call. */
  readonly signal?: AbortSignal;
}

/** Finished sections of a partial bundle: their tensors' checksums. */
interface Journal {
  readonly key: string;
  readonly sections: Record<string, Record<string, number>>;
}

const JOURNAL_FILE = "progress.json";
/** Names that a partial bundle may have; a folder with others is somebody else's and left alone. */
const OWN_NAMES: ReadonlySet<string> = new Set([
  "resident.safetensors", "neurons.safetensors", "predictor.safetensors", CHECKSUMS_FILE, "config.json", "bundle.json",
  "tokenizer.json", "tokenizer_config.json", JOURNAL_FILE, `${JOURNAL_FILE}.new`,
]);

/**
 * Writes a bundle of `checkpoint` (borrowed, left open). Streams: never more than 256 MiB above a row of the largest
 * tensor. Works in `outPath.partial`, which a later call with the same content and dtype resumes, and renames it when
 * everything is on flash. @throws BUNDLE_DTYPE, BUNDLE_BUSY, BUNDLE_WRITE, FLASH_ABORTED, CHECKPOINT_*, TOKENIZER_*.
 */
export async function writeBundle(checkpoint: Checkpoint, options: WriteBundleOptions): Promise<void> {
  const outPath = resolve(options.outPath);
  const choice = chooseDtype(checkpoint, options.dtype);
  const plan = planBundle(checkpoint, choice.dtype);
  const totalBytes = plan.files.reduce((sum, file) => sum + file.sizeBytes, 0);
  const partialPath = `${outPath}.partial`;
  await mkdir(dirname(outPath), { recursive: true }).catch((cause) => {
    throw writeError(cause, dirname(outPath), totalBytes);
  });
  const release = acquireBundleLock(outPath);
  try {
    await recoverReplacement(outPath);
    if (existsSync(outPath) && !existsSync(join(outPath, "bundle.json"))) {
      throw new FlashlmError("BUNDLE_WRITE", `${outPath} exists and is not a bundle: choose another path or remove it`, { path: outPath });
    }
    const key = JSON.stringify([1, options.contentHash, choice.dtype, plan.files.map((file) => [file.sizeBytes, crc32c(file.header)])]);
    const journal = await openPartial(partialPath, key);
    await requireFreeSpace(dirname(outPath), totalBytes - (await writtenBytes(partialPath)));
    await writeSections(checkpoint, plan, partialPath, journal, totalBytes, options);
    await finish(checkpoint, plan, choice, partialPath, journal, options);
    await installFolder(partialPath, outPath);
  } catch (cause) {
    throw writeError(cause, partialPath, totalBytes);
  } finally {
    release();
  }
}

/** The journal of a partial bundle with this key; a partial of anything else is emptied. */
async function openPartial(partialPath: string, key: string): Promise<Journal> {
  await mkdir(partialPath, { recursive: true });
  const names = await readdir(partialPath);
  const foreign = names.filter((name) => !OWN_NAMES.has(name));
  if (foreign.length > 0) {
    throw new FlashlmError("BUNDLE_WRITE", `${partialPath} holds files that are not of a bundle (${foreign[0]}): move it away`, { path: partialPath });
  }
  const text = await readTextIfAny(join(partialPath, JOURNAL_FILE));
  if (text !== null) {
    try {
      const journal = JSON.parse(text) as Journal;
      if (journal.key === key && typeof journal.sections === "object" && journal.sections !== null) return journal;
    } catch {
      // A damaged journal is as good as none.
    }
  }
  for (const name of names) await rm(join(partialPath, name), { force: true });
  const journal: Journal = { key, sections: {} };
  await replaceDurably(join(partialPath, JOURNAL_FILE), JSON.stringify(journal));
  return journal;
}

async function writtenBytes(partialPath: string): Promise<number> {
  let sum = 0;
  for (const name of await readdir(partialPath)) {
    const stats = await stat(join(partialPath, name));
    sum += Math.min(stats.size, stats.blocks * 512);
  }
  return sum;
}

/** A unit of resuming: a layer, or one tensor that belongs to none. */
interface Section {
  readonly name: string;
  readonly layer: number | null;
  readonly tensors: readonly PlannedTensor[];
}

function sectionsOf(plan: BundlePlan): Section[] {
  const resident = plan.tensors.filter((tensor) => tensor.fileIndex === 0);
  const layers = plan.layers.map((_layer, layer): Section => {
    const name = `layers.${layer}`;
    return { name, layer, tensors: resident.filter((tensor) => tensor.name.startsWith(`${name}.`)) };
  });
  const globals = resident.filter((tensor) => !tensor.name.startsWith("layers."));
  return [...layers, ...globals.map((tensor): Section => ({ name: tensor.name, layer: null, tensors: [tensor] }))];
}

/** Cuts off what an interrupted section left behind the finished ones. */
async function truncateGarbage(plan: BundlePlan, files: readonly FileHandle[], journal: Journal): Promise<void> {
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

async function writeSections(checkpoint: Checkpoint, plan: BundlePlan, partialPath: string, journal: Journal, totalBytes: number, options: WriteBundleOptions): Promise<void> {
  const handles: FileHandle[] = [];
  let doneBytes = 0;
  const onBytes = (lengthBytes: number): void => {
    doneBytes += lengthBytes;
    options.onProgress?.({ phase: "write", doneBytes: Math.min(doneBytes, totalBytes), totalBytes });
    if (options.signal?.aborted) {
      throw new FlashlmError("FLASH_ABORTED", `writing was stopped; run again to resume from ${partialPath}`, { path: partialPath });
    }
  };
  try {
    for (const file of plan.files) handles.push(await openForUpdate(join(partialPath, file.name)));
    await truncateGarbage(plan, handles, journal);
    onBytes(0);
    const [resident, neurons, checksums, predictor] = handles;
    const files = predictor === undefined ? [resident!, neurons!] : [resident!, neurons!, predictor];
    const target: SectionTarget = { checkpoint, plan, files, onBytes };
    for (const section of sectionsOf(plan)) {
      if (journal.sections[section.name] !== undefined) {
        onBytes(sectionBytes(plan, section));
        continue;
      }
      const done: Record<string, number> = {};
      for (const tensor of section.tensors) done[tensor.name] = await writeTensor(target, tensor);
      if (section.layer !== null) {
        const layer = await writeLayer(target, section.layer);
        Object.assign(done, layer.tensorChecksums);
        const table = plan.tables[section.layer]!;
        const order = Uint32Array.from(layer.recordChecksums, (_value, index) => index);
        await writeAt(checksums!, new Uint8Array(layer.recordChecksums.buffer), table.crcOffsetBytes);
        await writeAt(checksums!, new Uint8Array(order.buffer), table.orderOffsetBytes);
      }
      for (const handle of handles) await handle.datasync();
      journal.sections[section.name] = done;
      await replaceDurably(join(partialPath, JOURNAL_FILE), JSON.stringify(journal));
    }
    for (const [index, handle] of handles.entries()) {
      await handle.truncate(plan.files[index]!.sizeBytes);
      await handle.sync();
    }
  } finally {
    for (const handle of handles) await handle.close();
  }
}

function sectionBytes(plan: BundlePlan, section: Section): number {
  const tensors = plan.tensors.filter((tensor) => tensor.name === section.name || tensor.name.startsWith(`${section.name}.`));
  const sum = tensors.reduce((bytes, tensor) => bytes + tensor.lengthBytes, 0);
  return section.layer === null ? sum : sum + plan.layers[section.layer]!.neuronCount * plan.record.strideBytes;
}

async function openForUpdate(path: string): Promise<FileHandle> {
  try {
    return await open(path, "r+");
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== "ENOENT") throw cause;
    return open(path, "w+");
  }
}

/** Writes config, tokenizer and `bundle.json`, and drops the journal: from here on the folder is a bundle. */
async function finish(checkpoint: Checkpoint, plan: BundlePlan, choice: DtypeChoice, partialPath: string, journal: Journal, options: WriteBundleOptions): Promise<void> {
  const texts = [{ name: "config.json", text: `${JSON.stringify(checkpoint.configJson, null, 2)}\n` }, ...(await convertTokenizer(checkpoint)).files];
  const files: BundleFileEntry[] = plan.files.map((file) => ({ name: file.name, sizeBytes: file.sizeBytes, crc32c: null }));
  const tableBytes = await readFile(join(partialPath, CHECKSUMS_FILE));
  files[2] = { name: CHECKSUMS_FILE, sizeBytes: tableBytes.length, crc32c: crc32c(tableBytes) };
  for (const { name, text } of texts) {
    const bytes = new TextEncoder().encode(text);
    await writeDurably(join(partialPath, name), bytes);
    files.push({ name, sizeBytes: bytes.length, crc32c: crc32c(bytes) });
  }
  const checksums = Object.assign({}, ...Object.values(journal.sections)) as Record<string, number>;
  const tensors = plan.tensors.map((tensor): BundleTensor => ({ ...tensor, crc32c: checksums[tensor.name]! }));
  const source = { format: checkpoint.format, name: checkpoint.name, contentHash: options.contentHash };
  const { dtype, reason: dtypeReason, lossy } = choice;
  const { record, layers } = plan;
  const document = encodeBundleJson({ formatVersion: 1, dtype, dtypeReason, lossy, model: checkpoint.model, record, layers, tensors, source, calibration: null, files });
  await writeDurably(join(partialPath, "bundle.json"), document);
  await rm(join(partialPath, JOURNAL_FILE), { force: true });
}

import { existsSync } from "node:fs";
import { type FileHandle, mkdir } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { FlashlmError, type WeightDtype } from "@flashlm/contracts";
import type { InputMoments } from "../codecs/measured-rounding.js";
import { type BundlePlan, planBundle } from "../format/bundle-plan.js";
import { crc32c } from "../format/crc32c.js";
import { chooseDtype, type DtypeChoice } from "../format/dtype-choice.js";
import type { Checkpoint } from "../sources/checkpoint.js";
import { acquireBundleLock } from "./bundle-lock.js";
import { finishBundle } from "./finish-bundle.js";
import {
  installFolder,
  recoverReplacement,
  replaceDurably,
  requireFreeSpace,
  writeError,
} from "./install-bundle.js";
import { type SectionTarget, writeAt, writeLayer, writeTensor } from "./layer-writer.js";
import { JOURNAL_FILE } from "./own-names.js";
import {
  isComplete,
  type Journal,
  openForUpdate,
  openPartial,
  truncateGarbage,
  writtenBytes,
} from "./partial-bundle.js";
import { sectionBytes, sectionsOf } from "./sections.js";

/** How far a long operation is. */
export interface BundleProgress {
  readonly phase: "write" | "verify" | "rewrite";
  readonly doneBytes: number;
  readonly totalBytes: number;
  /** `doneBytes / totalBytes`, 0 to 1. */
  readonly doneShare: number;
}

/** What the FFN inputs of a model were measured to be. */
export interface MeasuredRounding {
  /** Names what was measured; a partial bundle is only resumed with the same. */
  readonly id: string;
  /** Moments of a layer; asked for once or, where a layer is resumed, again. Borrowed until the next call. */
  readonly inputMoments: (layerIndex: number) => InputMoments;
}

/** Options of {@link writeBundle}. */
export interface WriteBundleOptions {
  /** Folder of the bundle; a bundle that is there is replaced at the end, anything else is refused. */
  readonly outPath: string;
  /** Default: what keeps the source's quality, see `chooseDtype`. */
  readonly dtype?: WeightDtype;
  /** Of attention projections, token embedding and head. Default: they follow the dtype. */
  readonly residentDtype?: WeightDtype;
  /** Hash of the checkpoint's content; what was written for the same hash and dtypes is resumed. */
  readonly contentHash: string;
  /** Rounds q4_0 gate and up vectors by what their inputs were measured to be, which costs less quality; nearest levels unless given. */
  readonly rounding?: MeasuredRounding;
  /** Called as bytes are written; quick, since it runs on the writing thread. */
  readonly onProgress?: (progress: BundleProgress) => void;
  /** Stops the work with FLASH_ABORTED; what is written stays and is resumed by the next call. */
  readonly signal?: AbortSignal;
}

/**
 * Writes a bundle of `checkpoint` (borrowed, left open). Streams: never more than 256 MiB above a row of the largest
 * tensor. Works in `outPath.partial`, which a later call with the same content and dtypes resumes, and renames it when
 * everything is on flash. @throws BUNDLE_DTYPE, BUNDLE_BUSY, BUNDLE_WRITE, FLASH_ABORTED, CHECKPOINT_*, TOKENIZER_*.
 */
export async function writeBundle(checkpoint: Checkpoint, options: WriteBundleOptions): Promise<void> {
  const outPath = resolve(options.outPath);
  const chosen = chooseDtype(checkpoint, options.dtype, options.residentDtype);
  const choice = notedRounding(chosen, options.rounding);
  const plan = planBundle(checkpoint, choice);
  const totalBytes = plan.files.reduce((sum, file) => sum + file.sizeBytes, 0);
  const partialPath = `${outPath}.partial`;
  await mkdir(dirname(outPath), { recursive: true }).catch((cause) => {
    throw writeError(cause, dirname(outPath), totalBytes);
  });
  const release = acquireBundleLock(outPath);
  try {
    await recoverReplacement(outPath);
    if (existsSync(outPath) && !existsSync(join(outPath, "bundle.json"))) {
      throw new FlashlmError(
        "BUNDLE_WRITE",
        `${outPath} exists and is not a bundle: choose another path or remove it`,
        { path: outPath },
      );
    }
    const key = JSON.stringify([
      1,
      options.contentHash,
      choice.dtype,
      plan.files.map((file) => [file.sizeBytes, crc32c(file.header)]),
      ...(options.rounding ? [options.rounding.id] : []),
      ...(choice.residentDtype ? [{ residentDtype: choice.residentDtype }] : []),
    ]);
    if (!(await isComplete(partialPath, { contentHash: options.contentHash, choice, plan }))) {
      const journal = await openPartial(partialPath, key);
      await requireFreeSpace(dirname(outPath), totalBytes - (await writtenBytes(partialPath)));
      await writeSections(checkpoint, plan, partialPath, journal, totalBytes, options);
      await finishBundle(checkpoint, plan, choice, partialPath, journal, options.contentHash);
    }
    await installFolder(partialPath, outPath);
  } catch (cause) {
    throw writeError(cause, partialPath, totalBytes);
  } finally {
    release();
  }
}

/** Says in the manifest which weights were rounded by measured inputs. */
function notedRounding(choice: DtypeChoice, rounding: MeasuredRounding | undefined): DtypeChoice {
  if (rounding === undefined) return choice;
  const lossy = choice.lossy.map((line) =>
    line.replace(/-> q4_0 \(FFN gate and up/, "$&, rounded by measured inputs"),
  );
  return { ...choice, lossy };
}

async function writeSections(
  checkpoint: Checkpoint,
  plan: BundlePlan,
  partialPath: string,
  journal: Journal,
  totalBytes: number,
  options: WriteBundleOptions,
): Promise<void> {
  const handles: FileHandle[] = [];
  let doneBytes = 0;
  const onBytes = (lengthBytes: number): void => {
    doneBytes += lengthBytes;
    const bytes = Math.min(doneBytes, totalBytes);
    options.onProgress?.({ phase: "write", doneBytes: bytes, totalBytes, doneShare: bytes / totalBytes });
    if (options.signal?.aborted) {
      throw new FlashlmError(
        "FLASH_ABORTED",
        `writing was stopped; run again to resume from ${partialPath}`,
        { path: partialPath },
      );
    }
  };
  try {
    for (const file of plan.files) handles.push(await openForUpdate(join(partialPath, file.name)));
    await truncateGarbage(plan, handles, journal);
    onBytes(0);
    const [resident, neurons, checksums, predictor] = handles;
    const files = predictor === undefined ? [resident!, neurons!] : [resident!, neurons!, predictor];
    const inputMoments = options.rounding?.inputMoments;
    const target: SectionTarget = { checkpoint, plan, files, inputMoments, onBytes };
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

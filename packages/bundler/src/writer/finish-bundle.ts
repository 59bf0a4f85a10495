import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import type { BundleManifest, BundleTensor } from "@flashlm/contracts";
import { type BundleFileEntry, encodeBundleJson } from "../format/bundle-json.js";
import { type BundlePlan, CHECKSUMS_FILE } from "../format/bundle-plan.js";
import { crc32c } from "../format/crc32c.js";
import type { DtypeChoice } from "../format/dtype-choice.js";
import type { Checkpoint } from "../sources/checkpoint.js";
import { convertTokenizer } from "../tokenizer/index.js";
import { syncFolder, writeDurably } from "./install-bundle.js";
import { JOURNAL_FILE } from "./own-names.js";
import type { Journal } from "./partial-bundle.js";

/** Writes config, tokenizer and `bundle.json`, and drops the journal: from here on the folder is a bundle. */
export async function finishBundle(
  checkpoint: Checkpoint,
  plan: BundlePlan,
  choice: DtypeChoice,
  partialPath: string,
  journal: Journal,
  contentHash: string,
): Promise<void> {
  const texts = [
    { name: "config.json", text: `${JSON.stringify(checkpoint.configJson, null, 2)}\n` },
    ...(await convertTokenizer(checkpoint)).files,
  ];
  const files: BundleFileEntry[] = plan.files.map((file) => ({
    name: file.name,
    sizeBytes: file.sizeBytes,
    crc32c: null,
  }));
  const tableBytes = await readFile(join(partialPath, CHECKSUMS_FILE));
  files[2] = { name: CHECKSUMS_FILE, sizeBytes: tableBytes.length, crc32c: crc32c(tableBytes) };
  for (const { name, text } of texts) {
    const bytes = new TextEncoder().encode(text);
    await writeDurably(join(partialPath, name), bytes);
    files.push({ name, sizeBytes: bytes.length, crc32c: crc32c(bytes) });
  }
  const checksums = Object.assign({}, ...Object.values(journal.sections)) as Record<string, number>;
  const manifest = manifestOf(checkpoint, plan, choice, contentHash, (name) => checksums[name]!);
  const document = encodeBundleJson({ ...manifest, files });
  await writeDurably(join(partialPath, "bundle.json"), document);
  await syncFolder(partialPath);
  await rm(join(partialPath, JOURNAL_FILE), { force: true });
}

/** What `bundle.json` says of a bundle as it was planned. */
export function manifestOf(
  checkpoint: Checkpoint,
  plan: BundlePlan,
  { dtype, residentDtype, reason: dtypeReason, lossy }: DtypeChoice,
  contentHash: string,
  checksumOf: (tensorName: string) => number,
): BundleManifest {
  const { record, layers } = plan;
  return {
    formatVersion: 1,
    dtype,
    ...(residentDtype ? { residentDtype } : {}),
    dtypeReason,
    lossy,
    model: checkpoint.model,
    record,
    layers,
    tensors: plan.tensors.map((tensor): BundleTensor => ({ ...tensor, crc32c: checksumOf(tensor.name) })),
    source: { format: checkpoint.format, name: checkpoint.name, contentHash },
    calibration: null,
  };
}

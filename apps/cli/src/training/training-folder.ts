import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import type { BundleIndex } from "@flashlm/contracts";
import type { RecordFiles } from "./activation-recorder.js";

/** What a kill must not lose. */
interface Journal {
  /** Everything that decides what is recorded; other settings begin anew. */
  readonly settings: string;
  readonly recordedTokens: number;
}

const JOURNAL = "journal.json";

/**
 * The folder `BUNDLE.training` that a training works in: per layer the recorded inputs and contributions, then one file per finished head. What
 * the journal counts is whole, so a run that was killed goes on where it stood.
 */
export class TrainingFolder {
  readonly path: string;
  readonly #settings: string;
  readonly #layerCount: number;
  #recordedTokens = 0;

  /** Opens the folder, or begins anew where it holds other settings. */
  constructor(bundle: BundleIndex, settings: unknown) {
    this.path = `${bundle.path}.training`;
    this.#settings = JSON.stringify(settings);
    this.#layerCount = bundle.manifest.layers.length;
    const journal = this.#read();
    if (journal?.settings === this.#settings && this.#holds(bundle, journal.recordedTokens))
      this.#recordedTokens = journal.recordedTokens;
    else rmSync(this.path, { recursive: true, force: true });
    mkdirSync(this.path, { recursive: true });
    this.#write();
  }

  /** Tokens recorded so far, in whole windows. */
  get recordedTokens(): number {
    return this.#recordedTokens;
  }

  /** Path of a layer's recorded inputs (bf16) or contribution codes (u8). */
  recordPath(layerIndex: number, kind: keyof RecordFiles): string {
    return join(this.path, `layer-${layerIndex}.${kind}`);
  }

  /** Opens every layer's files for writing; the caller closes them with `closeRecords`. */
  openRecords(): RecordFiles[] {
    const open = (path: string): number => openSync(path, existsSync(path) ? "r+" : "w+");
    return Array.from({ length: this.#layerCount }, (_, layerIndex) => ({
      inputs: open(this.recordPath(layerIndex, "inputs")),
      codes: open(this.recordPath(layerIndex, "codes")),
    }));
  }

  /** Closes what `openRecords` opened. */
  closeRecords(files: readonly RecordFiles[]): void {
    for (const { inputs, codes } of files) {
      closeSync(inputs);
      closeSync(codes);
    }
  }

  /** Says that the files hold this many tokens. */
  setRecordedTokens(tokenCount: number): void {
    this.#recordedTokens = tokenCount;
    this.#write();
  }

  /** Path of a finished head's result. */
  headPath(name: string, layerIndex: number): string {
    return join(this.path, `${name}-${layerIndex}.head`);
  }

  /** Deletes the folder. */
  remove(): void {
    rmSync(this.path, { recursive: true, force: true });
  }

  /** Whether the files are as long as the journal says: after a power cut they may not be. */
  #holds(bundle: BundleIndex, tokenCount: number): boolean {
    const { hiddenSize, ffn } = bundle.manifest.model;
    const lengthOf = (path: string): number => statSync(path, { throwIfNoEntry: false })?.size ?? 0;
    return bundle.manifest.layers.every(
      (_, layerIndex) =>
        lengthOf(this.recordPath(layerIndex, "inputs")) >= tokenCount * hiddenSize * 2 &&
        lengthOf(this.recordPath(layerIndex, "codes")) >= tokenCount * ffn.neuronCount,
    );
  }

  #read(): Journal | null {
    try {
      return JSON.parse(readFileSync(join(this.path, JOURNAL), "utf8")) as Journal;
    } catch {
      return null; // Absent or half written: nothing counts as recorded.
    }
  }

  #write(): void {
    const path = join(this.path, JOURNAL);
    const journal: Journal = { settings: this.#settings, recordedTokens: this.#recordedTokens };
    writeFileSync(`${path}.new`, JSON.stringify(journal));
    renameSync(`${path}.new`, path);
  }
}

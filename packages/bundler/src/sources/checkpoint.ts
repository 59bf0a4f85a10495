import type { ModelConfig } from "@flashlm/contracts";

/** A tensor of a checkpoint under its canonical name. */
export interface SourceTensor {
  /** Canonical name, as in a bundle, plus `layers.N.ffn.{gate,up,down}.weight`. */
  readonly name: string;
  /** Type it is stored as: F32, F16, BF16, Q8_0, ... */
  readonly sourceType: string;
  /** Row-major, as in Hugging Face: `[rows, columns]`, or `[columns]` for a vector (one row). */
  readonly shape: readonly number[];
  /** Bytes it takes in the checkpoint. */
  readonly lengthBytes: number;
}

/** An open checkpoint, whatever its format. The caller closes it. */
export interface Checkpoint {
  readonly format: "gguf" | "huggingface";
  /** For people: the name the checkpoint gives itself, or its file or folder name. */
  readonly name: string;
  /** Absolute paths of all files that its content depends on. */
  readonly paths: readonly string[];
  /** The model in the vocabulary of the runtime. */
  readonly model: ModelConfig;
  /** Tensors by canonical name: all that the model needs, and no other. */
  readonly tensors: ReadonlyMap<string, SourceTensor>;
  /**
   * Reads rows `rowBegin` to before `rowEnd` as f32 into `target`, `[rowEnd - rowBegin, columns]`, in the order of
   * Hugging Face (rotary halves) whatever the file has. Synchronous; reads only these rows, a MiB or a row at a time.
   * @throws CHECKPOINT_MISSING_TENSOR, CHECKPOINT_SHAPE for rows or a target that do not fit, CHECKPOINT_TRUNCATED
   * where the file shrank, FLASH_IO, FLASH_CLOSED after {@link close}.
   */
  readRows(name: string, rowBegin: number, rowEnd: number, target: Float32Array): void;
  /** As {@link readRows} for matrices, in the bytes of the tensor's `sourceType`; `target` holds whole rows. Throws the same. */
  readStored(name: string, rowBegin: number, rowEnd: number, target: Uint8Array): void;
  /** Type of most bytes of FFN weights. */
  readonly dominantType: string;
  /** `config.json` in the style of Hugging Face: the file itself, or made up from GGUF metadata. */
  readonly configJson: object;
  /** All metadata of a GGUF file, by key; integers of 64 bits beyond 2^53 are bigint. */
  readonly ggufMetadata?: Readonly<Record<string, unknown>>;
  /** Closes the files; idempotent. */
  close(): void;
}

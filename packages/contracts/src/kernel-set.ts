import type { RecordLayout } from "./bundle.js";
import type { MemoryArena, MemoryHandle, WeightDtype } from "./memory.js";
import type { FfnActivation } from "./model.js";
import type { ByteCount, ByteOffset } from "./units.js";

/** A 32-bit unsigned word in kernel memory that an op reads when it runs: token counts, positions, list lengths. */
export type WordRef = MemoryHandle;

/** Addresses in words and lists count units of 16 bytes from the start of their arena, so that 32 bits reach 64 GiB. */
export const ADDRESS_UNIT_BYTES = 16;

/**
 * A weight matrix, row-major `[rowCount, columnCount]`, rows without padding. `base` is fixed, or found at run time:
 * address word (units of {@link ADDRESS_UNIT_BYTES}) plus `offsetBytes`. The latter is how streamed blocks move.
 */
export interface WeightRef {
  readonly dtype: WeightDtype;
  readonly rowCount: number;
  readonly columnCount: number;
  readonly base: MemoryHandle | { readonly addressWord: WordRef; readonly offsetBytes: ByteOffset };
}

/** A f32 vector that may live in a streamed block, such as a norm weight or a bias. */
export type VectorRef = WeightRef["base"];

/**
 * Arithmetic of a dot product. "f32": weights become f32 before they are multiplied. "q8": for block dtypes only; each block of 32 source values x is first
 * rounded to int8: d = max|x| / 127 in f32, q = x * (1 / d) rounded to even and clamped to -127 .. 127 (all 0 where d is 0); a block's
 * integer dot is exact and scaled by both blocks' scales in f32 (q4_1 adds m * d * sum(q)). Other dtypes ignore it.
 */
export type DotPrecision = "f32" | "q8";

/** A dtype that keys and values are cached in; q8_0 is blocks of 32 along a token's head. */
export type CacheDtype = "f32" | "f16" | "q8_0";

/**
 * One step of a program. `T` is the value of `tokenCount` when it runs. Activations are f32, row-major; all memory of a
 * program is in one arena. Each target sums in an order of its own, which is fixed: results do not depend on T, on threads, on alignment, on
 * where in a ring keys and values stand or on which neurons were cached. Across targets they agree within the tolerances of the conformance suite.
 */
export type KernelOp =
  /** target[t] (+)= scale * table row `rowIds[t]`; rowIds u32 `[T]`; scale 1 unless given. */
  | {
      readonly op: "gatherRows";
      readonly scale?: number;
      readonly accumulate?: boolean;
      readonly tokenCount: WordRef;
      readonly table: WeightRef;
      readonly rowIds: MemoryHandle;
      readonly target: MemoryHandle;
    }
  /** Per row of `dim` over T * rowsPerToken rows. rms: x / sqrt(mean(x^2) + epsilon) * weight. layer: (x - mean) / sqrt(var + epsilon) * weight + bias. May run in place. */
  | {
      readonly op: "norm";
      readonly kind: "rms" | "layer";
      readonly tokenCount: WordRef;
      readonly rowsPerToken: number;
      readonly dim: number;
      readonly epsilon: number;
      readonly source: MemoryHandle;
      readonly target: MemoryHandle;
      readonly weight: VectorRef;
      readonly bias?: VectorRef;
    }
  /** target[t, r] (+)= dot(weight[r], source[t]) + bias[r]; source `[T, columnCount]`, target `[T, rowCount]`; `accumulate` adds to what target holds (residual). */
  | {
      readonly op: "matmul";
      /** "f32" unless given. */
      readonly precision?: DotPrecision;
      readonly tokenCount: WordRef;
      readonly weight: WeightRef;
      readonly source: MemoryHandle;
      readonly target: MemoryHandle;
      readonly bias?: VectorRef;
      readonly accumulate: boolean;
    }
  /** Rotates the first rotaryDim of each head of `[T, headCount, headDim]` in place, pairing i with i + rotaryDim/2. `table` f32 `[contextLength, rotaryDim]`: cosines of position p then its sines. Token t stands at position + t. */
  | {
      readonly op: "rope";
      readonly tokenCount: WordRef;
      readonly position: WordRef;
      readonly vector: MemoryHandle;
      readonly headCount: number;
      readonly headDim: number;
      readonly rotaryDim: number;
      readonly table: MemoryHandle;
    }
  /** keyCache[(position + t) mod capacity] = keys[t], and values likewise; caches `[capacityTokens, keyValueDim]` of `cacheDtype` (f32 unless given; rounded to nearest even). */
  | {
      readonly op: "storeKeyValue";
      readonly cacheDtype?: CacheDtype;
      readonly tokenCount: WordRef;
      readonly position: WordRef;
      readonly keys: MemoryHandle;
      readonly values: MemoryHandle;
      readonly keyCache: MemoryHandle;
      readonly valueCache: MemoryHandle;
      readonly keyValueDim: number;
      readonly capacityTokens: number;
    }
  /**
   * Causal grouped-query attention: token t sees positions max(0, p - window + 1) .. p with p = position + t; position q is at row q mod capacity.
   * Query and target `[T, headCount, headDim]`. Scores, softmax (subtract the maximum) and the weighted sum run in ascending position.
   * Score of head h: s = q . k * scale; then softCap * tanh(s / softCap) where given; then + alibiSlopes[h] * (q - p) where given (f32 `[headCount]`).
   * `sinks` (f32 `[headCount]`) joins the softmax as one more score that has no value.
   */
  | {
      readonly op: "attention";
      readonly cacheDtype?: CacheDtype;
      readonly softCap?: number;
      readonly alibiSlopes?: VectorRef;
      readonly sinks?: VectorRef;
      readonly tokenCount: WordRef;
      readonly position: WordRef;
      readonly query: MemoryHandle;
      readonly keyCache: MemoryHandle;
      readonly valueCache: MemoryHandle;
      readonly target: MemoryHandle;
      readonly headCount: number;
      readonly keyValueHeadCount: number;
      readonly headDim: number;
      readonly scale: number;
      readonly window: number | null;
      readonly capacityTokens: number;
    }
  /**
   * For k in [orderBegin, orderEnd) and p = order[k]: activation[t, p] = act(gate_p . source[t]) * up_p . source[t] (gated; upActivation applied to the up dot), or act(up_p . source[t] + bias) (plain).
   * The record of position p is at addresses[p] (u32, ADDRESS_UNIT_BYTES). `activation` f32 `[T, activationStride]`. Where `mask` is given (u8 `[T, maskStride]`, by neuron id, neuron id of p = ids[p]) a zero makes the result 0.
   * Biases (f32 `[neuronCount]`) are found by ids[p].
   */
  | {
      readonly op: "ffnActivations";
      readonly precision?: DotPrecision;
      readonly tokenCount: WordRef;
      readonly layout: RecordLayout;
      readonly activationFn: FfnActivation;
      readonly upActivation: "none" | "relu";
      readonly addresses: MemoryHandle;
      readonly ids: MemoryHandle;
      readonly order: MemoryHandle;
      readonly orderBegin: WordRef;
      readonly orderEnd: WordRef;
      readonly source: MemoryHandle;
      readonly activation: MemoryHandle;
      readonly activationStride: number;
      readonly mask?: { readonly base: MemoryHandle; readonly stride: number };
      readonly gateBias?: VectorRef;
      readonly upBias?: VectorRef;
    }
  /** target[t] += activation[t, p] * down_p for p = 0 .. positionCount-1 in ascending order, skipping activations that are exactly 0; then + bias once if given. */
  | {
      readonly op: "ffnDown";
      readonly tokenCount: WordRef;
      readonly layout: RecordLayout;
      readonly addresses: MemoryHandle;
      readonly positionCount: WordRef;
      readonly activation: MemoryHandle;
      readonly activationStride: number;
      readonly target: MemoryHandle;
      readonly bias?: VectorRef;
    }
  /**
   * scores[t, n] = |act(gate_n . source[t]) * up_n . source[t]| * downNorm_n (kind "contribution"), or the value act(gate_n . source[t]) (kind "gate"; up and downNorm absent),
   * or act(gate) * act_up(up) (kind "product", downNorm absent). scores f32 `[T, rowCount]`.
   */
  | {
      readonly op: "neuronScores";
      readonly precision?: DotPrecision;
      readonly kind: "contribution" | "gate" | "product";
      readonly tokenCount: WordRef;
      readonly gate: WeightRef;
      readonly up?: WeightRef;
      readonly downNorm?: VectorRef;
      readonly activationFn: FfnActivation;
      readonly upActivation: "none" | "relu";
      readonly source: MemoryHandle;
      readonly scores: MemoryHandle;
    }
  /** checksums[i] = CRC32C of the `lengthBytes` at addresses[order[i]], i in [orderBegin, orderEnd). */
  | {
      readonly op: "crc32c";
      readonly addresses: MemoryHandle;
      readonly order: MemoryHandle;
      readonly orderBegin: WordRef;
      readonly orderEnd: WordRef;
      readonly lengthBytes: ByteCount;
      readonly checksums: MemoryHandle;
    }
  /** target[t, i] += scale * source[t, i], i < dim. */
  | {
      readonly op: "add";
      readonly tokenCount: WordRef;
      readonly dim: number;
      readonly scale: number;
      readonly source: MemoryHandle;
      readonly target: MemoryHandle;
    }
  /** target[t, i] = scale * source[t, i], i < dim; exactly 0 where scale is 0. May run in place. */
  | {
      readonly op: "copy";
      readonly tokenCount: WordRef;
      readonly dim: number;
      readonly scale: number;
      readonly source: MemoryHandle;
      readonly target: MemoryHandle;
    }
  /** vector[t, i] = cap * tanh(vector[t, i] / cap), i < dim. */
  | {
      readonly op: "softCap";
      readonly tokenCount: WordRef;
      readonly dim: number;
      readonly cap: number;
      readonly vector: MemoryHandle;
    }
  /** vector[t] = softmax(vector[t] / temperature), over dim values, the maximum subtracted first. */
  | {
      readonly op: "softmax";
      readonly tokenCount: WordRef;
      readonly dim: number;
      readonly temperature: number;
      readonly vector: MemoryHandle;
    }
  /** target[t] = index of the largest of source[t, 0 .. dim-1], the lowest of equals; u32 `[T]`. */
  | {
      readonly op: "argmax";
      readonly tokenCount: WordRef;
      readonly dim: number;
      readonly source: MemoryHandle;
      readonly target: MemoryHandle;
    }
  /** Rows of `dim` values from one dtype to another, rounded to nearest even; block dtypes as ggml quantises them. */
  | {
      readonly op: "convert";
      readonly tokenCount: WordRef;
      readonly dim: number;
      readonly sourceDtype: WeightDtype;
      readonly targetDtype: WeightDtype;
      readonly source: MemoryHandle;
      readonly target: MemoryHandle;
    };

/** Name of an op. */
export type KernelOpName = KernelOp["op"];

/** A compiled list of ops. Opaque; belongs to the set that compiled it. */
export interface KernelProgram {
  readonly opCount: number;
}

/** Memory of a kernel set. Everything is allocated at start and freed by closing the set. */
export interface KernelMemory {
  readonly arenas: readonly MemoryArena[];
  /** Where arena 0 is made of several memories: the bytes of each, one behind the other. Neither an allocation nor a view lies in two. */
  readonly segmentBytes?: ByteCount;
  /** Zeroed, aligned to `alignmentBytes` (default 64; a power of two). @throws KERNEL_MEMORY when the arena is full. */
  allocate(lengthBytes: ByteCount, alignmentBytes?: number): MemoryHandle;
  /** Host view, valid until the set closes. Borrowed. @throws KERNEL_MEMORY where the host cannot see the memory. */
  bytes(handle: MemoryHandle, lengthBytes: ByteCount): Uint8Array;
  /** f32 view of `count` elements; `handle` on 4 bytes. */
  floats(handle: MemoryHandle, count: number): Float32Array;
  /** u32 view of `count` elements; `handle` on 4 bytes. */
  words(handle: MemoryHandle, count: number): Uint32Array;
  /**
   * Copies bytes, also while a program that was started goes on with others; ranges may overlap. Absent where views are the only way: hosts copy memory
   * that threads share a word at a time. @throws KERNEL_MEMORY outside the memory.
   */
  copy?(to: MemoryHandle, from: MemoryHandle, lengthBytes: ByteCount): void;
}

/** A program that goes on while its caller does something else. */
export interface StartedProgram {
  /** Takes part in what is left of it; returns when all is done. To be called once. @throws KERNEL_SHAPE as `run` does. */
  finish(): void | Promise<void>;
}

/** A compute target: reference, WASM, native, GPU. One thread calls it. */
export interface KernelSet {
  readonly contractVersion: 1;
  readonly target: string;
  /** Why a faster target was passed over, for people; absent where none was. */
  readonly note?: string;
  readonly threadCount: number;
  readonly memory: KernelMemory;
  /** Whether ops of this name take weights of this dtype. */
  supports(op: KernelOpName, dtype: WeightDtype): boolean;
  /** Checks shapes once. @throws KERNEL_NOT_SUPPORTED, KERNEL_SHAPE. */
  compile(ops: readonly KernelOp[]): KernelProgram;
  /** Runs a program; returns a promise only where the target is really asynchronous. */
  run(program: KernelProgram): void | Promise<void>;
  /**
   * Starts a program for a caller who has something else to do meanwhile: the set's other threads begin it, and the caller takes part in `finish`. Until then
   * nothing else of the set is called but `close`, and what the program reads and writes is left alone. The results are those of `run`, bit for bit. Absent
   * where a target cannot, or has no other thread. @throws KERNEL_SHAPE.
   */
  start?(program: KernelProgram): StartedProgram;
  /** Stops threads and frees memory, whose contents are lost; native sets on Linux give it back to the system at once. Idempotent. */
  close(): Promise<void>;
}

/** How kernel sets are made. `memoryBytes` is the arena's whole size, allocated at once. */
export interface KernelSetOptions {
  readonly memoryBytes: ByteCount;
  readonly threadCount: number;
  /** Most columns of a weight in its programs, for which working memory is set aside: up to 65,536, and 16,384 unless given. */
  readonly columnCountMax?: number;
}

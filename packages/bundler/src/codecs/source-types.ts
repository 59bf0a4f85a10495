import { FlashlmError } from "@flashlm/contracts";
import {
  dequantiseQ4Block,
  dequantiseQ4BlockWithMinimum,
  dequantiseQ5Block,
  dequantiseQ5BlockWithMinimum,
  dequantiseQ8Block,
} from "./block-rows.js";
import { dequantiseBf16, dequantiseF16, dequantiseF32 } from "./float-rows.js";
import {
  dequantiseQ2Super,
  dequantiseQ3Super,
  dequantiseQ4Super,
  dequantiseQ5Super,
  dequantiseQ6Super,
} from "./k-rows.js";
import { dequantiseIq4Block, dequantiseIq4Super } from "./nonlinear-rows.js";

/** A number type of checkpoints: blocks of `blockElements` weights in `blockBytes` bytes, along a row. */
export interface SourceTypeInfo {
  readonly name: string;
  readonly blockElements: number;
  readonly blockBytes: number;
  /** Fills `target` (a multiple of `blockElements`) from `bytes`; checks nothing. */
  readonly dequantise: (bytes: Uint8Array, target: Float32Array) => void;
}

function typeInfo(
  name: string,
  blockElements: number,
  blockBytes: number,
  dequantise: SourceTypeInfo["dequantise"],
): readonly [string, SourceTypeInfo] {
  return [name, { name, blockElements, blockBytes, dequantise }];
}

/** Every type that can be read, by its name in GGUF and safetensors. */
export const SOURCE_TYPES: ReadonlyMap<string, SourceTypeInfo> = new Map([
  typeInfo("F32", 1, 4, dequantiseF32),
  typeInfo("F16", 1, 2, dequantiseF16),
  typeInfo("BF16", 1, 2, dequantiseBf16),
  typeInfo("Q8_0", 32, 34, dequantiseQ8Block),
  typeInfo("Q4_0", 32, 18, dequantiseQ4Block),
  typeInfo("Q4_1", 32, 20, dequantiseQ4BlockWithMinimum),
  typeInfo("Q5_0", 32, 22, dequantiseQ5Block),
  typeInfo("Q5_1", 32, 24, dequantiseQ5BlockWithMinimum),
  typeInfo("Q2_K", 256, 84, dequantiseQ2Super),
  typeInfo("Q3_K", 256, 110, dequantiseQ3Super),
  typeInfo("Q4_K", 256, 144, dequantiseQ4Super),
  typeInfo("Q5_K", 256, 176, dequantiseQ5Super),
  typeInfo("Q6_K", 256, 210, dequantiseQ6Super),
  typeInfo("IQ4_NL", 32, 18, dequantiseIq4Block),
  typeInfo("IQ4_XS", 256, 136, dequantiseIq4Super),
]);

/**
 * Turns one row, or several contiguous ones, of a checkpoint's tensor into f32.
 * @param type - name of the source type, e.g. `Q4_K`.
 * @param bytes - at least the bytes of `target.length` weights. Borrowed.
 * @param target - filled; its length is a multiple of the type's block.
 * @throws CHECKPOINT_DTYPE for a type that is not known; CHECKPOINT_SHAPE where the lengths do not fit.
 */
export function dequantiseRow(type: string, bytes: Uint8Array, target: Float32Array): void {
  const info = SOURCE_TYPES.get(type);
  if (info === undefined) {
    throw new FlashlmError(
      "CHECKPOINT_DTYPE",
      `tensors of type ${type} cannot be read; known are ${[...SOURCE_TYPES.keys()].join(", ")}`,
      { type },
    );
  }
  const wantedBytes = (target.length / info.blockElements) * info.blockBytes;
  if (target.length % info.blockElements !== 0 || bytes.length < wantedBytes) {
    throw new FlashlmError(
      "CHECKPOINT_SHAPE",
      `${target.length} weights of type ${type} need whole blocks of ${info.blockElements} and ${wantedBytes} bytes; got ${bytes.length} bytes`,
      { type, wantedBytes, lengthBytes: bytes.length },
    );
  }
  info.dequantise(bytes, target);
}

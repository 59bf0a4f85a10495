// Which op a command is, how many units of work it has, and how they are done. Who does a unit changes no result.
import { attention, attentionUnits } from "./attention";
import { crc32c, crcUnits } from "./crc32c";
import { downUnits, ffnDown } from "./down";
import { gatherRows, norm, rope, storeKeyValue } from "./elementwise";
import { activationUnits, ffnActivations } from "./ffn";
import {
  OP_ADD, OP_ARGMAX, OP_ATTENTION, OP_CONVERT, OP_COPY, OP_CRC32C, OP_ELSEWHERE, OP_FFN_ACTIVATIONS, OP_FFN_DOWN, OP_GATHER_ROWS,
  OP_MATMUL, OP_NEURON_SCORES, OP_NORM, OP_ROPE, OP_SOFTMAX, OP_SOFT_CAP, OP_STORE_KEY_VALUE,
} from "./layout";
import { matmul, matmulUnits } from "./matmul";
import { neuronScores, scoreUnits } from "./scores";
import { addVector, argmax, convert, convertUnits, copyVector, softCap, softmax, vectorUnits } from "./vectors";

/**
 * Does units of an op in another memory, with that memory's instance of this module. Its command here: memory, code, units, where its
 * words lie there, tokens.
 */
// @ts-ignore: decorator
@external("env", "elsewhere")
declare function elsewhere(memory: i32, code: u32, op: usize, first: i32, last: i32, tokens: i32, thread: i32): void;

/** Code of the op that is really done. */
export function codeOf(command: usize): u32 {
  const code = load<u32>(command);
  return code == OP_ELSEWHERE ? load<u32>(command, 16) : code;
}

/** Units of a command; 0 or less where there is nothing to do. */
export function unitsOf(code: u32, op: usize, tokens: i32): i32 {
  if (tokens <= 0) return 0;
  if (code == OP_MATMUL) return matmulUnits(op);
  if (code == OP_FFN_ACTIVATIONS) return activationUnits(op);
  if (code == OP_FFN_DOWN) return downUnits(op);
  if (code == OP_ATTENTION) return attentionUnits(op, tokens);
  if (code == OP_NEURON_SCORES) return scoreUnits(op);
  if (code == OP_NORM) return tokens * load<i32>(op, 4);
  if (code == OP_ROPE) return tokens * load<i32>(op, 8);
  if (code == OP_CRC32C) return crcUnits(op);
  if (code == OP_CONVERT) return convertUnits(op, tokens);
  if (code == OP_ELSEWHERE) return load<i32>(op, 8);
  if (code == OP_ADD || code == OP_COPY || code == OP_SOFT_CAP) return vectorUnits(op, tokens);
  return tokens;
}

/** Units that a thread claims at a time: few enough that a thread which wakes late, or loses its core, holds nobody up for long. */
export function claimSizeOf(code: u32, units: i32, threads: i32): i32 {
  if (threads == 1) return units;
  // Slices of the down projection are read from every record: long ones are worth more than an even end.
  const claims = code == OP_FFN_DOWN ? 1 : 8;
  return max(1, units / (threads * claims));
}

/** Does units [first, last) of a command. */
export function step(code: u32, op: usize, first: i32, last: i32, tokens: i32, thread: i32): void {
  if (code == OP_MATMUL) matmul(op, first, last, tokens, thread);
  else if (code == OP_FFN_ACTIVATIONS) ffnActivations(op, first, last, tokens, thread);
  else if (code == OP_FFN_DOWN) ffnDown(op, first, last, tokens, thread);
  else if (code == OP_ATTENTION) attention(op, first, last, thread);
  else if (code == OP_NORM) norm(op, first, last);
  else if (code == OP_ROPE) rope(op, first, last);
  else if (code == OP_STORE_KEY_VALUE) storeKeyValue(op, first, last, tokens);
  else if (code == OP_NEURON_SCORES) neuronScores(op, first, last, tokens, thread);
  else if (code == OP_GATHER_ROWS) gatherRows(op, first, last);
  else if (code == OP_CRC32C) crc32c(op, first, last);
  else if (code == OP_ADD) addVector(op, first, last, tokens);
  else if (code == OP_COPY) copyVector(op, first, last, tokens);
  else if (code == OP_SOFT_CAP) softCap(op, first, last, tokens);
  else if (code == OP_SOFTMAX) softmax(op, first, last);
  else if (code == OP_ARGMAX) argmax(op, first, last);
  else if (code == OP_CONVERT) convert(op, first, last, thread);
  else if (code == OP_ELSEWHERE) {
    elsewhere(load<i32>(op), load<u32>(op, 4), load<u32>(op, 12), first, last, load<i32>(op, 16), thread);
  }
}

// Command: position, query, keyCache, valueCache, target, heads, keyValueHeads, headDim, scale, window, capacity.
import { axpy, axpy4 } from "./axpy";
import { dot4 } from "./dot";
import { DTYPE_F32 } from "./layout";
import { expNegative4 } from "./math";
import { dotsOf, scratchOf, splitAt } from "./rows";

/** Writes scores of positions first .. first + count - 1 and returns the largest. */
function scoreHead(query: usize, keys: usize, pitch: usize, dim: i32, capacity: u32, first: u32, count: i32, scale: f32, scores: usize, dots: usize): f32 {
  let largest: f32 = -Infinity;
  for (let k = 0; k < count; k += 4) {
    const group = min(4, count - k);
    const at = first + <u32>k;
    const key0 = keys + <usize>(at % capacity) * pitch;
    const key1 = group > 1 ? keys + <usize>((at + 1) % capacity) * pitch : key0;
    const key2 = group > 2 ? keys + <usize>((at + 2) % capacity) * pitch : key0;
    const key3 = group > 3 ? keys + <usize>((at + 3) % capacity) * pitch : key0;
    dot4(DTYPE_F32, key0, key1, key2, key3, query, dim, dots);
    for (let j = 0; j < group; j++) {
      const score = load<f32>(dots + (<usize>j << 2)) * scale;
      store<f32>(scores + (<usize>(k + j) << 2), score);
      largest = max<f32>(largest, score);
    }
  }
  return largest;
}

/** Turns scores into exp(score - largest), in place; returns their sum. */
function exponentials(scores: usize, count: i32, largest: f32): f32 {
  const end = scores + (<usize>count << 2);
  // Lanes behind the last score become exp(-inf) = 0.
  for (let pad = end; pad & 15; pad += 4) store<f32>(pad, -Infinity);
  const offset = f32x4.splat(largest);
  let sum: f32 = 0;
  for (let at = scores; at < end; at += 16) {
    const lanes = expNegative4(f32x4.sub(v128.load(at), offset));
    v128.store(at, lanes);
    sum += f32x4.extract_lane(lanes, 0);
    sum += f32x4.extract_lane(lanes, 1);
    sum += f32x4.extract_lane(lanes, 2);
    sum += f32x4.extract_lane(lanes, 3);
  }
  return sum;
}

function sumValues(values: usize, pitch: usize, dim: i32, capacity: u32, first: u32, count: i32, scores: usize, target: usize): void {
  memory.fill(target, 0, <usize>dim << 2);
  let k = 0;
  for (; k + 4 <= count; k += 4) {
    const at = first + <u32>k;
    const row0 = values + <usize>(at % capacity) * pitch;
    const row1 = values + <usize>((at + 1) % capacity) * pitch;
    const row2 = values + <usize>((at + 2) % capacity) * pitch;
    const row3 = values + <usize>((at + 3) % capacity) * pitch;
    axpy4(DTYPE_F32, scores + (<usize>k << 2), row0, row1, row2, row3, target, dim);
  }
  for (; k < count; k++) {
    const row = values + <usize>((first + <u32>k) % capacity) * pitch;
    axpy(DTYPE_F32, load<f32>(scores + (<usize>k << 2)), row, target, dim);
  }
}

/** Threads share the pairs of token and head. */
export function attention(op: usize, tokens: i32, thread: i32, threads: i32): void {
  const position = load<u32>(load<u32>(op));
  const heads = load<i32>(op, 20);
  const keyValueHeads = load<i32>(op, 24);
  const dim = load<i32>(op, 28);
  const scale = load<f32>(op, 32);
  const window = load<u32>(op, 36);
  const capacity = load<u32>(op, 40);
  const pitch = <usize>(keyValueHeads * dim) << 2;
  const scores = scratchOf(thread);
  const last = splitAt(tokens * heads, thread + 1, threads);
  for (let unit = splitAt(tokens * heads, thread, threads); unit < last; unit++) {
    const now = position + <u32>(unit / heads);
    // Rows older than the cache are gone, whatever the window says.
    const seen = min<u32>(min<u32>(window, capacity), now + 1);
    const first = now + 1 - seen;
    const offset = <usize>(((unit % heads) * keyValueHeads) / heads) * <usize>dim << 2;
    const query = <usize>load<u32>(op, 4) + (<usize>unit * <usize>dim << 2);
    const target = <usize>load<u32>(op, 16) + (<usize>unit * <usize>dim << 2);
    const keys = <usize>load<u32>(op, 8) + offset;
    const largest = scoreHead(query, keys, pitch, dim, capacity, first, <i32>seen, scale, scores, dotsOf(thread));
    const sum = exponentials(scores, <i32>seen, largest);
    sumValues(<usize>load<u32>(op, 12) + offset, pitch, dim, capacity, first, <i32>seen, scores, target);
    for (let i: usize = 0; i < <usize>dim; i++) {
      store<f32>(target + (i << 2), load<f32>(target + (i << 2)) / sum);
    }
  }
}

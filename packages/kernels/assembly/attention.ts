// Command: position, query, keyCache, valueCache, target, heads, keyValueHeads, headDim, scale, window, capacity,
// dtype, softCap (f32, 0 for none), alibiSlopes[2], sinks[2].
import { axpy, axpy4 } from "./axpy";
import { rowLength } from "./convert";
import { dot4 } from "./dot";
import { SCORES_TILE } from "./layout";
import { exp64, expNegative4, softCapped } from "./math";
import { baseOf, dotsOf, rowsOf } from "./rows";
import { scaleFloats } from "./vectors";

/** Writes products of positions first .. first + count - 1. */
function multiply(dtype: i32, query: usize, keys: usize, pitch: usize, dim: i32, capacity: u32, first: u32, count: i32, scale: f32, scores: usize, dots: usize): void {
  for (let k = 0; k < count; k += 4) {
    const group = min(4, count - k);
    const at = first + <u32>k;
    const key0 = keys + <usize>(at % capacity) * pitch;
    const key1 = group > 1 ? keys + <usize>((at + 1) % capacity) * pitch : key0;
    const key2 = group > 2 ? keys + <usize>((at + 2) % capacity) * pitch : key0;
    const key3 = group > 3 ? keys + <usize>((at + 3) % capacity) * pitch : key0;
    dot4(dtype, key0, key1, key2, key3, query, dim, dots);
    for (let j = 0; j < group; j++) {
      store<f32>(scores + (<usize>(k + j) << 2), load<f32>(dots + (<usize>j << 2)) * scale);
    }
  }
}

/** Caps and biases scores where asked for; `distance` is that of the first one. Returns the largest. */
function adjust(op: usize, head: usize, scores: usize, count: i32, distance: i32): f32 {
  const cap = load<f32>(op, 48);
  const slopes = baseOf(op + 52);
  const slope: f32 = slopes ? load<f32>(slopes + (head << 2)) : 0;
  let largest: f32 = -Infinity;
  for (let k = 0; k < count; k++) {
    const place = scores + (<usize>k << 2);
    let score = load<f32>(place);
    if (cap != 0) score = softCapped(cap, score);
    if (slopes) score -= slope * <f32>(distance - k);
    store<f32>(place, score);
    largest = max<f32>(largest, score);
  }
  return largest;
}

/** Turns scores into exp(score - largest), in place; returns their sum and that of those before. */
function exponentials(scores: usize, count: i32, largest: f32, before: f32): f32 {
  const end = scores + (<usize>count << 2);
  // Lanes behind the last score become exp(-inf) = 0.
  for (let pad = end; pad & 15; pad += 4) store<f32>(pad, -Infinity);
  const offset = f32x4.splat(largest);
  let sum = before;
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

function sumValues(dtype: i32, values: usize, pitch: usize, dim: i32, capacity: u32, first: u32, count: i32, scores: usize, target: usize): void {
  let k = 0;
  for (; k + 4 <= count; k += 4) {
    const at = first + <u32>k;
    const row0 = values + <usize>(at % capacity) * pitch;
    const row1 = values + <usize>((at + 1) % capacity) * pitch;
    const row2 = values + <usize>((at + 2) % capacity) * pitch;
    const row3 = values + <usize>((at + 3) % capacity) * pitch;
    axpy4(dtype, scores + (<usize>k << 2), row0, row1, row2, row3, target, dim);
  }
  for (; k < count; k++) {
    const row = values + <usize>((first + <u32>k) % capacity) * pitch;
    axpy(dtype, load<f32>(scores + (<usize>k << 2)), row, target, dim);
  }
}

/**
 * One head of one token. Scores come in tiles of ascending positions; where a tile has a larger one than all before,
 * what was summed up so far is scaled down to it. The sink, where there is one, is the first score, without a value.
 */
function attend(op: usize, query: usize, target: usize, head: i32, now: u32, scores: usize, dots: usize): void {
  const keyValueHeads = load<i32>(op, 24);
  const dim = load<i32>(op, 28);
  const capacity = load<u32>(op, 40);
  const dtype = load<i32>(op, 44);
  const pitch = rowLength(dtype, keyValueHeads * dim);
  const offset = rowLength(dtype, ((head * keyValueHeads) / load<i32>(op, 20)) * dim);
  const keys = <usize>load<u32>(op, 8) + offset;
  const values = <usize>load<u32>(op, 12) + offset;
  // Rows older than the cache are gone, whatever the window says.
  const seen = <i32>min<u32>(min<u32>(load<u32>(op, 36), capacity), now + 1);
  const sinks = baseOf(op + 60);
  let largest: f32 = sinks ? load<f32>(sinks + (<usize>head << 2)) : -Infinity;
  let sum: f32 = sinks ? 1 : 0;
  memory.fill(target, 0, <usize>dim << 2);
  for (let k = 0; k < seen; k += SCORES_TILE) {
    const count = min(SCORES_TILE, seen - k);
    const first = now + 1 - <u32>(seen - k);
    multiply(dtype, query, keys, pitch, dim, capacity, first, count, load<f32>(op, 32), scores, dots);
    const before = largest;
    largest = max<f32>(largest, adjust(op, head, scores, count, seen - 1 - k));
    if (sum != 0 && largest != before) {
      const share = <f32>exp64(<f64>(before - largest));
      sum *= share;
      scaleFloats(share, target, target, dim);
    }
    sum = exponentials(scores, count, largest, sum);
    sumValues(dtype, values, pitch, dim, capacity, first, count, scores, target);
  }
  for (let i: usize = 0; i < <usize>dim; i++) {
    store<f32>(target + (i << 2), load<f32>(target + (i << 2)) / sum);
  }
}

/** Units are pairs of token and head. */
export function attentionUnits(op: usize, tokens: i32): i32 {
  return tokens * load<i32>(op, 20);
}

/** Units [first, last). */
export function attention(op: usize, first: i32, last: i32, thread: i32): void {
  const position = load<u32>(load<u32>(op));
  const heads = load<i32>(op, 20);
  for (let unit = first; unit < last; unit++) {
    const place = <usize>unit * <usize>load<u32>(op, 28) << 2;
    const now = position + <u32>(unit / heads);
    attend(op, <usize>load<u32>(op, 4) + place, <usize>load<u32>(op, 16) + place, unit % heads, now, rowsOf(thread), dotsOf(thread));
  }
}

// Command: hidden, stride, gated, gateDtype, gateOffset, upDtype, upOffset, activation, threshold, upRelu, addresses,
// ids, order, orderBegin, orderEnd, source, target, targetStride, mask, maskStride, gateBias[2], upBias[2], precision.
import { FAULT, FAULT_ADDRESS, TOKEN_TILE } from "./layout";
import { activate } from "./math";
import { roundTokens } from "./rounded";
import { baseOf, claim, claimSize, dotsOf, groupDots, isRounded, prepareRow } from "./rows";

/** Record of a position, or 0 (and a fault) where it would reach beyond memory. */
// @ts-ignore: decorator
@inline
export function recordAt(addresses: usize, position: u32, stride: u32): usize {
  const at = <u64>load<u32>(addresses + (<usize>position << 2)) << 4;
  if (at + stride > <u64>memory.size() << 16 || at == 0) {
    atomic.store<i32>(FAULT, FAULT_ADDRESS);
    return 0;
  }
  return <usize>at;
}

/** One value of the result, from the dot that is new and, when gated, the activation stored before. */
// @ts-ignore: decorator
@inline
function finish(op: usize, gated: bool, isGate: bool, before: f32, dot: f32, id: u32, bias: usize): f32 {
  const value = bias ? dot + load<f32>(bias + (<usize>id << 2)) : dot;
  if (isGate || !gated) return activate(load<i32>(op, 28), load<f32>(op, 32), value);
  if (before == 0) return 0;
  const up: f32 = load<u32>(op, 36) != 0 && value < 0 ? 0 : value;
  return before * up;
}

/** True when no token in [firstToken, lastToken) of a group of positions has use for the up dot. */
function allZero(target: usize, stride: usize, order: usize, count: i32, firstToken: i32, lastToken: i32): bool {
  for (let k = 0; k < count; k++) {
    const place = target + (<usize>load<u32>(order + (<usize>k << 2)) << 2);
    for (let t = firstToken; t < lastToken; t++) {
      if (load<f32>(place + (<usize>t * stride << 2)) != 0) return false;
    }
  }
  return true;
}

function part(op: usize, order: usize, count: i32, isGate: bool, firstToken: i32, lastToken: i32, tokens: i32, thread: i32): void {
  const hidden = load<i32>(op);
  const stride = load<u32>(op, 4);
  const gated = load<u32>(op, 8) != 0;
  const dtype = isGate ? load<i32>(op, 12) : load<i32>(op, 20);
  const rounded = isRounded(load<u32>(op, 96), dtype);
  const offset = <usize>(isGate ? load<u32>(op, 16) : load<u32>(op, 24));
  const addresses = <usize>load<u32>(op, 40);
  const ids = <usize>load<u32>(op, 44);
  const target = <usize>load<u32>(op, 64);
  const pitch = <usize>load<u32>(op, 68);
  const mask = <usize>load<u32>(op, 72);
  const bias = isGate ? baseOf(op + 80) : baseOf(op + 88);
  const dots = dotsOf(thread);
  const record0 = recordAt(addresses, load<u32>(order), stride);
  const record1 = count > 1 ? recordAt(addresses, load<u32>(order, 4), stride) : record0;
  const record2 = count > 2 ? recordAt(addresses, load<u32>(order, 8), stride) : record0;
  const record3 = count > 3 ? recordAt(addresses, load<u32>(order, 12), stride) : record0;
  if (record0 == 0 || record1 == 0 || record2 == 0 || record3 == 0) return;
  const row0 = prepareRow(dtype, record0 + offset, 0, hidden, tokens, rounded, thread);
  const row1 = count > 1 ? prepareRow(dtype, record1 + offset, 1, hidden, tokens, rounded, thread) : row0;
  const row2 = count > 2 ? prepareRow(dtype, record2 + offset, 2, hidden, tokens, rounded, thread) : row0;
  const row3 = count > 3 ? prepareRow(dtype, record3 + offset, 3, hidden, tokens, rounded, thread) : row0;
  for (let t = firstToken; t < lastToken; t += 4) {
    const group = min(4, lastToken - t);
    groupDots(dtype, row0, row1, row2, row3, <usize>load<u32>(op, 60), hidden, t, group, tokens, rounded, thread, dots);
    for (let k = 0; k < count; k++) {
      const position = load<u32>(order + (<usize>k << 2));
      const id = load<u32>(ids + (<usize>position << 2));
      for (let u = 0; u < group; u++) {
        const token = <usize>(t + u);
        const place = target + ((token * pitch + position) << 2);
        const dot = load<f32>(dots + (<usize>(u * 4 + k) << 2));
        let value = finish(op, gated, isGate, isGate || !gated ? 0 : load<f32>(place), dot, id, bias);
        if (mask && load<u8>(mask + token * load<u32>(op, 76) + id) == 0) value = 0;
        store<f32>(place, value);
      }
    }
  }
}

/** Groups [first, last) of positions, for tokens [firstToken, lastToken). */
function groups(op: usize, first: i32, last: i32, firstToken: i32, lastToken: i32, tokens: i32, thread: i32): void {
  const gated = load<u32>(op, 8) != 0;
  const begin = load<i32>(load<u32>(op, 52));
  const end = load<i32>(load<u32>(op, 56));
  const order = <usize>load<u32>(op, 48);
  for (let g = first; g < last; g++) {
    const position = begin + (g << 2);
    const place = order + (<usize>position << 2);
    const count = min(4, end - position);
    if (gated) part(op, place, count, true, firstToken, lastToken, tokens, thread);
    if (gated && allZero(load<u32>(op, 64), load<u32>(op, 68), place, count, firstToken, lastToken)) continue;
    part(op, place, count, false, firstToken, lastToken, tokens, thread);
  }
}

/** Threads claim positions in groups of four. */
export function ffnActivations(op: usize, tokens: i32, thread: i32, threads: i32, ticket: usize): void {
  const total = load<i32>(load<u32>(op, 56)) - load<i32>(load<u32>(op, 52));
  if (total <= 0) return;
  const count = (total + 3) >> 2;
  const size = claimSize(count, threads, 8);
  const precision = load<u32>(op, 96);
  const rounded = isRounded(precision, load<i32>(op, 12)) || isRounded(precision, load<i32>(op, 20));
  const tile = rounded ? TOKEN_TILE : tokens;
  let held = -1;
  for (let claimed = claim(ticket, size); claimed < count; claimed = claim(ticket, size)) {
    for (let t = 0; t < tokens; t += tile) {
      const last = min(t + tile, tokens);
      if (rounded && held != t) roundTokens(load<u32>(op, 60), t, last - t, load<i32>(op), thread);
      held = t;
      groups(op, claimed, min(claimed + size, count), t, last, tokens, thread);
    }
  }
}

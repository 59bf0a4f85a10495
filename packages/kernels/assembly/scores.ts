// Command: kind, rows, columns, gateDtype, gate[2], upDtype, up[2], downNorm[2], activation, threshold, upRelu, source, scores, precision.
import { rowLength } from "./convert";
import { SCORE_CONTRIBUTION, SCORE_GATE, TOKEN_TILE } from "./layout";
import { activate } from "./math";
import { roundTokens } from "./rounded";
import { baseOf, claim, claimSize, dotsOf, groupDots, isRounded, prepareRow } from "./rows";

function part(op: usize, first: i32, count: i32, isGate: bool, firstToken: i32, lastToken: i32, tokens: i32, thread: i32): void {
  const kind = load<i32>(op);
  const rows = <usize>load<u32>(op, 4);
  const columns = load<i32>(op, 8);
  const dtype = isGate ? load<i32>(op, 12) : load<i32>(op, 24);
  const rounded = isRounded(load<u32>(op, 64), dtype);
  const pitch = rowLength(dtype, columns);
  const start = (isGate ? baseOf(op + 16) : baseOf(op + 28)) + <usize>first * pitch;
  const norms = baseOf(op + 36);
  const scores = <usize>load<u32>(op, 60);
  const dots = dotsOf(thread);
  const row0 = prepareRow(dtype, start, 0, columns, tokens, rounded, thread);
  const row1 = count > 1 ? prepareRow(dtype, start + pitch, 1, columns, tokens, rounded, thread) : row0;
  const row2 = count > 2 ? prepareRow(dtype, start + 2 * pitch, 2, columns, tokens, rounded, thread) : row0;
  const row3 = count > 3 ? prepareRow(dtype, start + 3 * pitch, 3, columns, tokens, rounded, thread) : row0;
  for (let t = firstToken; t < lastToken; t += 4) {
    const group = min(4, lastToken - t);
    groupDots(dtype, row0, row1, row2, row3, <usize>load<u32>(op, 56), columns, t, group, tokens, rounded, thread, dots);
    for (let u = 0; u < group; u++) {
      for (let r = 0; r < count; r++) {
        const row = <usize>(first + r);
        const place = scores + ((<usize>(t + u) * rows + row) << 2);
        let value = load<f32>(dots + (<usize>(u * 4 + r) << 2));
        if (isGate) value = activate(load<i32>(op, 44), load<f32>(op, 48), value);
        else {
          if (load<u32>(op, 52) != 0 && value < 0) value = 0;
          const gate = load<f32>(place);
          value = gate == 0 ? 0 : gate * value;
          if (kind == SCORE_CONTRIBUTION) value = abs(value) * load<f32>(norms + (row << 2));
        }
        store<f32>(place, value);
      }
    }
  }
}

function groups(op: usize, begin: i32, end: i32, firstToken: i32, lastToken: i32, tokens: i32, thread: i32): void {
  for (let first = begin; first < end; first += 4) {
    const count = min(4, end - first);
    part(op, first, count, true, firstToken, lastToken, tokens, thread);
    if (load<i32>(op) != SCORE_GATE) part(op, first, count, false, firstToken, lastToken, tokens, thread);
  }
}

/** Threads claim neurons in groups of four. */
export function neuronScores(op: usize, tokens: i32, thread: i32, threads: i32, ticket: usize): void {
  const rows = load<i32>(op, 4);
  const count = (rows + 3) >> 2;
  const size = claimSize(count, threads, 8);
  const precision = load<u32>(op, 64);
  const rounded = isRounded(precision, load<i32>(op, 12)) || isRounded(precision, load<i32>(op, 24));
  const tile = rounded ? TOKEN_TILE : tokens;
  let held = -1;
  for (let claimed = claim(ticket, size); claimed < count; claimed = claim(ticket, size)) {
    for (let t = 0; t < tokens; t += tile) {
      const last = min(t + tile, tokens);
      if (rounded && held != t) roundTokens(load<u32>(op, 56), t, last - t, load<i32>(op, 8), thread);
      held = t;
      groups(op, claimed << 2, min((claimed + size) << 2, rows), t, last, tokens, thread);
    }
  }
}

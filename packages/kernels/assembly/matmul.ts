// Command: dtype, rows, columns, weight[2], source, target, bias[2], accumulate, precision.
import { rowLength } from "./convert";
import { TOKEN_TILE } from "./layout";
import { roundTokens } from "./rounded";
import { baseOf, claim, claimSize, dotsOf, groupDots, isRounded, prepareRow } from "./rows";

function storeDots(dots: usize, target: usize, rows: i32, group: i32, count: i32, bias: usize, accumulate: bool): void {
  for (let t = 0; t < group; t++) {
    for (let r = 0; r < count; r++) {
      let value = load<f32>(dots + (<usize>(t * 4 + r) << 2));
      if (bias) value += load<f32>(bias + (<usize>r << 2));
      const place = target + ((<usize>t * <usize>rows + <usize>r) << 2);
      store<f32>(place, accumulate ? load<f32>(place) + value : value);
    }
  }
}

/** Row groups [begin, end) with tokens [firstToken, lastToken). */
function rowGroups(op: usize, begin: i32, end: i32, firstToken: i32, lastToken: i32, tokens: i32, thread: i32): void {
  const dtype = load<i32>(op);
  const rows = load<i32>(op, 4);
  const columns = load<i32>(op, 8);
  const weight = baseOf(op + 12);
  const source = load<u32>(op, 20);
  const target: usize = load<u32>(op, 24);
  const bias = baseOf(op + 28);
  const accumulate = load<u32>(op, 36) != 0;
  const rounded = isRounded(load<u32>(op, 40), dtype);
  const pitch = rowLength(dtype, columns);
  const dots = dotsOf(thread);
  for (let g = begin; g < end; g++) {
    const row = g << 2;
    const count = min(4, rows - row);
    const start = weight + <usize>row * pitch;
    const row0 = prepareRow(dtype, start, 0, columns, tokens, rounded, thread);
    const row1 = count > 1 ? prepareRow(dtype, start + pitch, 1, columns, tokens, rounded, thread) : row0;
    const row2 = count > 2 ? prepareRow(dtype, start + 2 * pitch, 2, columns, tokens, rounded, thread) : row0;
    const row3 = count > 3 ? prepareRow(dtype, start + 3 * pitch, 3, columns, tokens, rounded, thread) : row0;
    for (let t = firstToken; t < lastToken; t += 4) {
      const group = min(4, lastToken - t);
      groupDots(dtype, row0, row1, row2, row3, source, columns, t, group, tokens, rounded, thread, dots);
      const place = target + ((<usize>t * <usize>rows + <usize>row) << 2);
      storeDots(dots, place, rows, group, count, bias ? bias + (<usize>row << 2) : 0, accumulate);
    }
  }
}

/** Threads claim rows in groups of four. */
export function matmul(op: usize, tokens: i32, thread: i32, threads: i32, ticket: usize): void {
  const rounded = isRounded(load<u32>(op, 40), load<i32>(op));
  const groups = (load<i32>(op, 4) + 3) >> 2;
  const size = claimSize(groups, threads, 8);
  const tile = rounded ? TOKEN_TILE : tokens;
  let held = -1;
  for (let first = claim(ticket, size); first < groups; first = claim(ticket, size)) {
    for (let t = 0; t < tokens; t += tile) {
      const last = min(t + tile, tokens);
      if (rounded && held != t) roundTokens(load<u32>(op, 20), t, last - t, load<i32>(op, 8), thread);
      held = t;
      rowGroups(op, first, min(first + size, groups), t, last, tokens, thread);
    }
  }
}

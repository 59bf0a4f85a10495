/**
 * Token ids in the order of their scores, best first, ties by the lower id. Memory is allocated once, for the whole
 * vocabulary; `ids[0 .. count-1]` is what a selection left.
 */
export class Candidates {
  /** Selected token ids, best first. */
  readonly ids: Uint32Array;
  /** Number of `ids` in use. */
  count = 0;

  /** @param vocabularySize - number of tokens, at least 1. */
  constructor(vocabularySize: number) {
    this.ids = new Uint32Array(vocabularySize);
  }

  /** Selects the `limit` best scores (NaN never wins) in O(V log limit), in practice near O(V). */
  selectBest(scores: Float32Array, limit: number): void {
    const ids = this.ids;
    let count = 0;
    for (let id = 0; id < scores.length; id++) {
      const score = scores[id] as number;
      if (!(score > Number.NEGATIVE_INFINITY)) continue;
      if (count < limit) {
        ids[count] = id;
        siftUp(ids, scores, count++);
      } else if (score > (scores[ids[0] as number] as number)) {
        // Equal scores do not get in: the ids here are lower.
        ids[0] = id;
        siftDown(ids, scores, 0, count);
      }
    }
    this.count = count;
    // The root is the worst of what is left, so moving it to the end leaves the best in front.
    for (let end = count - 1; end > 0; end--) {
      const worst = ids[0] as number;
      ids[0] = ids[end] as number;
      ids[end] = worst;
      siftDown(ids, scores, 0, end);
    }
  }
}

/** True when `a` is to leave the heap before `b`. */
function worse(scores: Float32Array, a: number, b: number): boolean {
  const scoreA = scores[a] as number;
  const scoreB = scores[b] as number;
  return scoreA < scoreB || (scoreA === scoreB && a > b);
}

function siftUp(heap: Uint32Array, scores: Float32Array, start: number): void {
  let index = start;
  const id = heap[index] as number;
  while (index > 0) {
    const parent = (index - 1) >> 1;
    if (!worse(scores, id, heap[parent] as number)) break;
    heap[index] = heap[parent] as number;
    index = parent;
  }
  heap[index] = id;
}

function siftDown(heap: Uint32Array, scores: Float32Array, start: number, count: number): void {
  let index = start;
  const id = heap[index] as number;
  for (;;) {
    let child = 2 * index + 1;
    if (child >= count) break;
    if (child + 1 < count && worse(scores, heap[child + 1] as number, heap[child] as number)) child++;
    if (!worse(scores, heap[child] as number, id)) break;
    heap[index] = heap[child] as number;
    index = child;
  }
  heap[index] = id;
}

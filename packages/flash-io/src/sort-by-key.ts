/**
 * Sorts the first `count` entries of `order` so that `keys[order[i]]` ascends, in place and without allocating
 * (heap sort; TypedArray.sort with a comparator copies). Records mostly come sorted, which is found first.
 */
export function sortByKey(order: Uint32Array, count: number, keys: Float64Array): void {
  let isSorted = true;
  for (let index = 1; index < count && isSorted; index++) {
    isSorted = keys[order[index - 1]!]! <= keys[order[index]!]!;
  }
  if (isSorted) return;
  for (let root = (count >> 1) - 1; root >= 0; root--) siftDown(order, root, count, keys);
  for (let end = count - 1; end > 0; end--) {
    const largest = order[0]!;
    order[0] = order[end]!;
    order[end] = largest;
    siftDown(order, 0, end, keys);
  }
}

function siftDown(order: Uint32Array, root: number, count: number, keys: Float64Array): void {
  const moved = order[root]!;
  const movedKey = keys[moved]!;
  let hole = root;
  for (;;) {
    let child = 2 * hole + 1;
    if (child >= count) break;
    if (child + 1 < count && keys[order[child + 1]!]! > keys[order[child]!]!) child++;
    if (keys[order[child]!]! <= movedKey) break;
    order[hole] = order[child]!;
    hole = child;
  }
  order[hole] = moved;
}

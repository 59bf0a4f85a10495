import { bestCombinations } from "./combinations.js";
import { directionsOf, type Estimate, estimateOps } from "./estimate.js";
import { type HeadParameters, type StartMatrices, searchedRows } from "./head-parameters.js";
import { orthonormaliseRows } from "./orthonormalise.js";
import { pseudoRandom } from "./pseudo-random.js";
import { transposeInto } from "./transpose.js";
import type { Workspace } from "./workspace.js";

/** Steps of subspace iteration; each sets two directions apart by the squared ratio of their singular values, and what is not settled by then differs little. */
const SUBSPACE_STEPS = 4;

/**
 * The head of `rank` that explains most of the weighted targets: with W the `weight` `[neuronCount, hiddenSize]`, D the diagonal of `importance` and y' the estimate,
 * the truncated singular value decomposition of D W S^½. Vectors v are iterated, v <- Wᵀ D² W (S v), which needs products with a few vectors only, and the best
 * combinations of them taken at the end (Rayleigh and Ritz). Those are orthonormal in the metric S; `a` becomes Gᵀ v and `b` W S v, so that b a x is the part of W y'
 * along them and the squares of a row of `b` sum to the variance of it. Directions that do not vary become 0. Overwrites `scores` and `weightTransposed`.
 */
export async function findSubspace(
  workspace: Workspace,
  head: HeadParameters & StartMatrices,
  estimate: Estimate,
  importance: Float64Array,
): Promise<void> {
  const { hiddenSize: d, neuronCount: n } = head.shape;
  const count = searchedRows(head.shape);
  transposeInto(head.weight.floats, n, d, head.weightTransposed.floats);
  const random = pseudoRandom(0);
  for (let at = 0; at < count * d; at++) head.subspace.floats[at] = random() / 2 ** 31 - 1;
  const there = workspace.compile(
    ...estimateOps(workspace, head, estimate),
    workspace.product({
      weight: head.weight.handle,
      rowCount: n,
      columnCount: d,
      source: head.images.handle,
      tokenCount: count,
      target: head.scores.handle,
    }),
  );
  const back = workspace.compile(
    workspace.product({
      weight: head.weightTransposed.handle,
      rowCount: d,
      columnCount: n,
      source: head.scores.handle,
      tokenCount: count,
      target: head.subspace.handle,
    }),
  );
  const squares = importance.map((value) => value * value);
  for (let index = 0; index <= SUBSPACE_STEPS; index++) {
    for (let at = 0; at < count * d; at++)
      head.images.floats[at] = estimate.ridge * head.subspace.floats[at]!;
    await workspace.run(there);
    if (index === SUBSPACE_STEPS) break;
    scaleColumns(head.scores.floats, squares, count, head.scores.floats);
    await workspace.run(back);
    orthonormaliseRows(head.subspace.floats, count, d);
  }
  await combine(workspace, head, estimate, importance);
}

/** Each of `rowCount` rows times `factors`, element by element, into `target`. */
function scaleColumns(
  rows: Float32Array,
  factors: Float64Array,
  rowCount: number,
  target: Float32Array,
): void {
  for (let row = 0; row < rowCount; row++) {
    const from = row * factors.length;
    for (let column = 0; column < factors.length; column++)
      target[from + column] = rows[from + column]! * factors[column]!;
  }
}

/** Writes `a` and `b` as the best combinations of the vectors in `subspace`, of which `scores` holds the rows W S v, `[k, neuronCount]`. */
async function combine(
  workspace: Workspace,
  head: HeadParameters & StartMatrices,
  estimate: Estimate,
  importance: Float64Array,
): Promise<void> {
  const { hiddenSize: d, neuronCount: n, rank } = head.shape;
  const count = searchedRows(head.shape);
  const [small, wide, copy] = [
    { rowCount: count, tokenCount: count },
    head.scores.floats,
    head.weightTransposed,
  ];
  scaleColumns(wide, importance, count, copy.floats);
  await workspace.run(
    workspace.compile(
      workspace.product({
        ...small,
        weight: head.subspace.handle,
        columnCount: d,
        source: head.images.handle,
        target: head.gram.handle,
      }),
      workspace.product({
        ...small,
        weight: copy.handle,
        columnCount: n,
        source: copy.handle,
        target: head.weightedGram.handle,
      }),
    ),
  );
  const combinations = bestCombinations(
    head.weightedGram.floats,
    head.gram.floats.subarray(0, count * count),
    count,
    rank,
  );
  head.gram.floats.set(combinations);
  transposeInto(directionsOf(head, estimate).floats, count, d, head.between.floats);
  transposeInto(wide, count, n, copy.floats);
  await workspace.run(
    workspace.compile(
      workspace.product({
        weight: head.between.handle,
        rowCount: d,
        columnCount: count,
        source: head.gram.handle,
        tokenCount: rank,
        target: head.a.handle,
      }),
      workspace.product({
        weight: head.gram.handle,
        rowCount: rank,
        columnCount: count,
        source: copy.handle,
        tokenCount: n,
        target: head.b.handle,
      }),
    ),
  );
}

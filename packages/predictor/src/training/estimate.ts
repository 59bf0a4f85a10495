import type { KernelOp } from "@flashlm/contracts";
import { type HeadParameters, type StartMatrices, searchedRows } from "./head-parameters.js";
import { inverseFactor } from "./inverse-factor.js";
import type { StartSamples } from "./start-samples.js";
import type { Matrix, Workspace } from "./workspace.js";

/** A matrix `[rowCount, columnCount]` of a chain. */
interface Link {
  readonly matrix: Matrix;
  readonly rowCount: number;
  readonly columnCount: number;
}

/**
 * How well the targets' inputs y are estimated from the inputs x, as chains of products on vectors v. The best linear estimate is y' = G x, G = YᵀX (XᵀX + ridge I)⁻¹, or
 * x itself for a head that names its own layer's neurons. `directions` leads from v to Gᵀ v, what to read of x for the part of y' along v, and `images`
 * from there to S v, S = YᵀX (XᵀX + ridge I)⁻¹ XᵀY being the covariance of y'; XᵀX + ridge I for y' = x. Links are applied first to last.
 */
export interface Estimate {
  readonly directions: readonly Link[];
  readonly images: readonly Link[];
  /** Times v, added to what `images` leads to. */
  readonly ridge: number;
}

/** Writes the estimate of a sample down. `weight` and `weightTransposed` are overwritten. */
export async function makeEstimate(
  workspace: Workspace,
  head: HeadParameters & StartMatrices,
  { own, whole, tokenCount, ridge }: StartSamples,
): Promise<Estimate> {
  const d = head.shape.hiddenSize;
  const side = whole ? tokenCount : d;
  const rows = (matrix: Matrix): Link => ({ matrix, rowCount: side, columnCount: d });
  const columns = (matrix: Matrix): Link => ({ matrix, rowCount: d, columnCount: side });
  if (own)
    return {
      directions: [],
      images: whole ? [rows(head.inputs), columns(head.inputsTransposed)] : [rows(head.inputs)],
      ridge,
    };
  // Of fewer tokens than inputs: (XᵀX + ridge I)⁻¹ Xᵀ = Xᵀ (X Xᵀ + ridge I)⁻¹.
  if (whole)
    await workspace.multiply({
      weight: head.inputs.handle,
      rowCount: side,
      columnCount: d,
      source: head.inputs.handle,
      tokenCount: side,
      target: head.factor.handle,
    });
  else head.factor.floats.set(head.inputs.floats);
  for (let k = 0; k < side; k++) head.factor.floats[k * side + k]! += ridge;
  const matrices = {
    matrix: head.factor,
    transposed: head.factorTransposed,
    lower: head.weightTransposed,
    panel: head.weight,
  };
  await inverseFactor(workspace, matrices, side, ridge);
  const inverse = [head.factor, head.factorTransposed].map((matrix) => ({
    matrix,
    rowCount: side,
    columnCount: side,
  }));
  return {
    directions: [rows(head.targets), ...inverse, ...(whole ? [columns(head.inputsTransposed)] : [])],
    images: [...(whole ? [rows(head.inputs)] : []), columns(head.targetsTransposed)],
    ridge: 0,
  };
}

/** Where Gᵀ v stands when {@link estimateOps} have run: in `subspace` itself where the estimate is x. */
export function directionsOf(head: StartMatrices, { directions }: Estimate): Matrix {
  return directions.length === 0 ? head.subspace : head.directions;
}

/** Ops from all rows v of `subspace` to Gᵀ v and to `images`, which must hold ridge * v before and holds S v after. `scores` is overwritten. */
export function estimateOps(
  workspace: Workspace,
  head: HeadParameters & StartMatrices,
  estimate: Estimate,
): KernelOp[] {
  const vectorCount = searchedRows(head.shape);
  const chain = (links: readonly Link[], from: Matrix, to: Matrix, accumulate: boolean): KernelOp[] => {
    const between = [head.between, head.scores];
    return links.map(({ matrix, rowCount, columnCount }, index) => {
      const isLast = index === links.length - 1;
      return workspace.product({
        weight: matrix.handle,
        rowCount,
        columnCount,
        source: (index === 0 ? from : between[(index - 1) % 2]!).handle,
        tokenCount: vectorCount,
        target: (isLast ? to : between[index % 2]!).handle,
        accumulate: accumulate && isLast,
      });
    });
  };
  const directions = directionsOf(head, estimate);
  return [
    ...chain(estimate.directions, head.subspace, directions, false),
    ...chain(estimate.images, directions, head.images, true),
  ];
}

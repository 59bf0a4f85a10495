import {
  type BundleManifest,
  type BundleTensor,
  FlashlmError,
  headMatrixDtype,
  type WeightDtype,
} from "@flashlm/contracts";
import { HEAD_NAMES, headTensorName } from "../format/head-tensors.js";
import { partDtype, residentDtypesFor } from "../format/record-layout.js";
import { wantedTensors } from "../sources/canonical-tensors.js";

interface Wanted {
  readonly rowCount: number;
  readonly columnCount: number;
  readonly dtypes: readonly WeightDtype[];
}

/**
 * Checks that the tensors that the runtime will read have the shapes the model gives them: kernels take their sizes
 * from the model. Names that are not known are left alone, they are of a later minor version. @throws BUNDLE_FORMAT.
 */
export function checkModelTensors(manifest: BundleManifest, path: string): void {
  const { model } = manifest;
  const found = new Map<string, BundleTensor>(manifest.tensors.map((tensor) => [tensor.name, tensor]));
  const check = (name: string, wanted: Wanted, needed: boolean): void => {
    const tensor = found.get(name);
    if (tensor === undefined && !needed) return;
    const fits =
      tensor?.rowCount === wanted.rowCount &&
      tensor.columnCount === wanted.columnCount &&
      wanted.dtypes.includes(tensor.dtype);
    if (fits) return;
    const expected = `${wanted.dtypes.join(" or ")} [${wanted.rowCount}, ${wanted.columnCount}]`;
    const came =
      tensor === undefined ? "no such tensor" : `${tensor.dtype} [${tensor.rowCount}, ${tensor.columnCount}]`;
    throw new FlashlmError(
      "BUNDLE_FORMAT",
      `${path}: ${name} must be ${expected}, but there is ${came}: make the bundle again`,
      { path, name },
    );
  };
  for (const { name, shape } of wantedTensors(model)) {
    if (/\.ffn\.(gate|up|down)\.weight$/.test(name)) continue;
    const columnCount = shape.at(-1)!;
    const isMatrix = shape.length > 1;
    const rowCount = isMatrix ? shape[0]! : 1;
    const dtypes = isMatrix
      ? residentDtypesFor(manifest, { name, rowCount, columnCount })
      : (["f32"] as const);
    check(name, { rowCount, columnCount, dtypes }, true);
  }
  const rowCount = model.ffn.neuronCount;
  for (let layer = 0; layer < model.layerCount; layer++) {
    for (const part of ["gate", "up"] as const) {
      check(
        `layers.${layer}.exact.${part}.bias`,
        { rowCount: 1, columnCount: rowCount, dtypes: ["f32"] },
        false,
      );
      check(
        `layers.${layer}.shadow.${part}.weight`,
        { rowCount, columnCount: model.hiddenSize, dtypes: ["q4_0"] },
        false,
      );
      check(
        `layers.${layer}.exact.${part}.weight`,
        { rowCount, columnCount: model.hiddenSize, dtypes: [partDtype(manifest.dtype, part)] },
        false,
      );
    }
    check(`layers.${layer}.shadow.down_norm`, { rowCount: 1, columnCount: rowCount, dtypes: ["f32"] }, false);
  }
  for (const head of HEAD_NAMES) {
    for (const { layerIndex, rank } of manifest.heads?.[head] ?? []) {
      const name = (part: "a.weight" | "b.weight" | "bias"): string => headTensorName(head, layerIndex, part);
      check(name("a.weight"), headMatrix(rank, model.hiddenSize), true);
      check(name("b.weight"), headMatrix(rowCount, rank), true);
      check(name("bias"), { rowCount: 1, columnCount: rowCount, dtypes: ["f32"] }, true);
    }
  }
}

function headMatrix(rowCount: number, columnCount: number): Wanted {
  const dtypes = [...new Set([headMatrixDtype("q8_0", columnCount), "f16" as const])];
  return { rowCount, columnCount, dtypes };
}

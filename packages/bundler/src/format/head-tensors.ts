import type { HeadName } from "@flashlm/contracts";

/** Kinds of trained heads, in the order of the predictor file. */
export const HEAD_NAMES: readonly HeadName[] = ["lowrank", "lookahead"];

/** Name of a head's tensor. */
export function headTensorName(
  head: HeadName,
  layerIndex: number,
  part: "a.weight" | "b.weight" | "bias",
): string {
  return `layers.${layerIndex}.${head}.${part}`;
}

/** True for the name of a tensor of the predictor file. */
export function isPredictorTensor(name: string): boolean {
  return /\.(shadow|exact|lowrank|lookahead)\./.test(name);
}

/** Layer whose order of records a tensor's rows (of vectors: elements) follow, or null where they follow none. */
export function orderLayerOf(name: string): number | null {
  const match =
    /^layers\.(\d+)\.(?:ffn\.(?:gate|up)\.bias|(?:shadow|exact)\..+|(lowrank|lookahead)\.(?:b\.weight|bias))$/.exec(
      name,
    );
  if (match === null) return null;
  return Number(match[1]) + (match[2] === "lookahead" ? 1 : 0);
}

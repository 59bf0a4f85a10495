import type { BundlePlan, PlannedTensor } from "../format/bundle-plan.js";

/** A unit of resuming: a layer, or one tensor that belongs to none. */
export interface Section {
  readonly name: string;
  readonly layer: number | null;
  readonly tensors: readonly PlannedTensor[];
}

/** Sections of a bundle in the order they are written: layers, then each tensor of none. */
export function sectionsOf(plan: BundlePlan): Section[] {
  const resident = plan.tensors.filter((tensor) => tensor.fileIndex === 0);
  const layers = plan.layers.map((_layer, layer): Section => {
    const name = `layers.${layer}`;
    return { name, layer, tensors: resident.filter((tensor) => tensor.name.startsWith(`${name}.`)) };
  });
  const globals = resident.filter((tensor) => !tensor.name.startsWith("layers."));
  return [
    ...layers,
    ...globals.map((tensor): Section => ({ name: tensor.name, layer: null, tensors: [tensor] })),
  ];
}

/** Bytes of weights a section writes. */
export function sectionBytes(plan: BundlePlan, section: Section): number {
  const tensors = plan.tensors.filter(
    (tensor) => tensor.name === section.name || tensor.name.startsWith(`${section.name}.`),
  );
  const sum = tensors.reduce((bytes, tensor) => bytes + tensor.lengthBytes, 0);
  return section.layer === null
    ? sum
    : sum + plan.layers[section.layer]!.neuronCount * plan.record.strideBytes;
}

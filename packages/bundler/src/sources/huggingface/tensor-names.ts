import { FlashlmError } from "@flashlm/contracts";
import { wantedTensors } from "../canonical-tensors.js";
import type { ConfigValues } from "../config-values.js";
import type { TensorPlace } from "../tensor-rows.js";
import type { FusedTensor, ModelShape, TensorNames } from "./architecture.js";

/** Tensors by canonical name, and what the checkpoint calls them. */
export interface NamedPlaces {
  readonly places: Map<string, TensorPlace>;
  readonly originalNames: Map<string, string>;
}

interface Located {
  /** `layers.N.` or nothing. */
  readonly scope: string;
  readonly module: string;
  readonly kind: "weight" | "bias";
}

function locate(name: string, { basePrefix, layerPrefix }: TensorNames): Located | null {
  const match = /^(.+)\.(weight|bias)$/.exec(name);
  if (match === null) return null;
  const kind = match[2] as Located["kind"];
  // "model.decoder." may also be cut to "decoder.", as base models are saved.
  const shortPrefix = basePrefix.slice(basePrefix.indexOf(".") + 1);
  const prefix = [basePrefix, shortPrefix].find((each) => match[1]!.startsWith(each)) ?? "";
  const rest = match[1]!.slice(prefix.length);
  const layer = rest.startsWith(layerPrefix)
    ? /^(0|[1-9]\d{0,3})\.(.+)$/.exec(rest.slice(layerPrefix.length))
    : null;
  return layer === null
    ? { scope: "", module: rest, kind }
    : { scope: `layers.${layer[1]}.`, module: layer[2]!, kind };
}

function own<Value>(table: Readonly<Record<string, Value>>, key: string): Value | undefined {
  return Object.hasOwn(table, key) ? table[key] : undefined;
}

function splitFused(
  original: string,
  place: TensorPlace,
  fused: FusedTensor,
  put: (stem: string, place: TensorPlace) => void,
): void {
  const [rowCount = 0, ...rest] = place.shape;
  if (rowCount !== fused.rowCount) {
    throw new FlashlmError(
      "CHECKPOINT_SHAPE",
      `${original} has ${rowCount} rows, expected ${fused.rowCount} from the config; the two do not belong together`,
      { name: original, rowCount, wanted: fused.rowCount },
    );
  }
  for (const { stem, rowCount: partRows, runs } of fused.parts) {
    const lengthBytes = (place.lengthBytes / rowCount) * partRows;
    put(stem, { ...place, shape: [partRows, ...rest], lengthBytes, runs });
  }
}

/**
 * The tensors of a checkpoint under our names, fused ones taken apart. Names that the architecture does not know stay as they are.
 * @throws CHECKPOINT_SHAPE for a fused tensor of another size.
 */
export function nameTensors(
  originals: ReadonlyMap<string, TensorPlace>,
  names: TensorNames,
  model: ModelShape,
): NamedPlaces {
  const places = new Map<string, TensorPlace>();
  const originalNames = new Map<string, string>();
  const fusedTensors = names.fused?.(model) ?? {};
  for (const [original, place] of originals) {
    const put = (canonical: string, part: TensorPlace): void => {
      const isShifted = names.normsLessOne === true && canonical.endsWith("_norm.weight");
      places.set(canonical, isShifted ? { ...part, addend: 1 } : part);
      originalNames.set(canonical, original);
    };
    const located = locate(original, names);
    const fused = located === null ? undefined : own(fusedTensors, located.module);
    const table = located?.scope === "" ? names.globals : names.layer;
    const stem = located === null ? undefined : own(table, located.module);
    if (located !== null && fused !== undefined)
      splitFused(original, place, fused, (part, at) => put(`${located.scope}${part}.${located.kind}`, at));
    else if (located !== null && stem !== undefined) put(`${located.scope}${stem}.${located.kind}`, place);
    else put(original, place);
  }
  return { places, originalNames };
}

/** Ones for the weights of norms that have none. */
export function addAbsentNorms(
  named: NamedPlaces,
  names: TensorNames,
  model: ModelShape,
  values: ConfigValues,
): void {
  if (!names.normsWithoutWeights?.(values)) return;
  const [any] = named.places.values();
  if (any === undefined) return;
  const { runs: _runs, ...whole } = any;
  for (const { name, shape } of wantedTensors(model)) {
    if (!name.endsWith("_norm.weight") || named.places.has(name)) continue;
    named.places.set(name, { ...whole, sourceType: "F32", shape, lengthBytes: 0, constant: 1 });
  }
}

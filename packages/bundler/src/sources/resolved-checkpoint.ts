import { FlashlmError, type ModelConfig } from "@flashlm/contracts";
import { SOURCE_TYPES } from "../codecs/index.js";
import { wantedTensors } from "./canonical-tensors.js";
import type { Checkpoint, SourceTensor } from "./checkpoint.js";
import type { PositionalFile } from "./positional-file.js";
import { type TensorPlace, TensorRowReader } from "./tensor-rows.js";

/** What a format's reader found; {@link resolveCheckpoint} checks it against the model. */
export interface CheckpointParts {
  readonly format: Checkpoint["format"];
  readonly name: string;
  readonly paths: readonly string[];
  readonly model: ModelConfig;
  readonly configJson: object;
  readonly ggufMetadata?: Readonly<Record<string, unknown>>;
  readonly files: readonly PositionalFile[];
  /** By canonical name. */
  readonly places: ReadonlyMap<string, TensorPlace>;
  /** The checkpoint's own name of a canonical one, for messages. */
  readonly originalNames: ReadonlyMap<string, string>;
}

function checkPlace(name: string, shape: readonly number[], parts: CheckpointParts): TensorPlace {
  const place = parts.places.get(name);
  if (place === undefined) {
    throw new FlashlmError(
      "CHECKPOINT_MISSING_TENSOR",
      `${parts.name} has no tensor for ${name}, which a ${parts.model.architecture} of ${parts.model.layerCount} layers needs; the checkpoint is incomplete`,
      { name },
    );
  }
  const original = parts.originalNames.get(name) ?? name;
  if (place.shape.length !== shape.length || place.shape.some((size, axis) => size !== shape[axis])) {
    throw new FlashlmError(
      "CHECKPOINT_SHAPE",
      `${original} has the shape [${place.shape.join(", ")}], expected [${shape.join(", ")}] from the config; the two do not belong together`,
      { name, shape: place.shape.join(","), wanted: shape.join(",") },
    );
  }
  const info = SOURCE_TYPES.get(place.sourceType);
  if (info === undefined) {
    throw new FlashlmError(
      "CHECKPOINT_DTYPE",
      `${original} is of type ${place.sourceType}, which cannot be read; use a checkpoint of ${[...SOURCE_TYPES.keys()].join(", ")}`,
      { name, type: place.sourceType },
    );
  }
  if (shape.at(-1)! % info.blockElements !== 0) {
    throw new FlashlmError(
      "CHECKPOINT_SHAPE",
      `${original} has rows of ${shape.at(-1)}, but ${info.name} needs multiples of ${info.blockElements}`,
      { name, type: info.name },
    );
  }
  return place;
}

function dominantTypeOf(tensors: ReadonlyMap<string, SourceTensor>): string {
  const bytesByType = new Map<string, number>();
  for (const tensor of tensors.values()) {
    if (!/\.ffn\.(gate|up|down)\.weight$/.test(tensor.name)) continue;
    bytesByType.set(tensor.sourceType, (bytesByType.get(tensor.sourceType) ?? 0) + tensor.lengthBytes);
  }
  return [...bytesByType].reduce((best, entry) => (entry[1] > best[1] ? entry : best), ["F32", 0])[0];
}

/**
 * Checks that every tensor the model needs is there with the right shape and a known type, and that no other one is.
 * @throws CHECKPOINT_MISSING_TENSOR, CHECKPOINT_SHAPE, CHECKPOINT_DTYPE, CHECKPOINT_UNSUPPORTED. The files stay open then.
 */
export function resolveCheckpoint(parts: CheckpointParts): Checkpoint {
  const tensors = new Map<string, SourceTensor>();
  for (const { name, shape } of wantedTensors(parts.model)) {
    const { sourceType, lengthBytes } = checkPlace(name, shape, parts);
    tensors.set(name, { name, sourceType, shape, lengthBytes });
  }
  for (const name of parts.places.keys()) {
    // A tied head may be stored a second time; anything else unexpected would be silently left out of the model.
    if (tensors.has(name) || (name === "head.weight" && parts.model.tiedEmbeddings)) continue;
    const original = parts.originalNames.get(name) ?? name;
    throw new FlashlmError(
      "CHECKPOINT_UNSUPPORTED",
      `${parts.name} has the tensor ${original}, which its config (${parts.model.architecture}, ${parts.model.layerCount} layers) does not account for`,
      { name: original },
    );
  }
  const reader = new TensorRowReader();
  const { places, files } = parts;
  const placeOf = (name: string): TensorPlace => {
    const place = tensors.has(name) ? places.get(name) : undefined;
    if (place !== undefined) return place;
    throw new FlashlmError("CHECKPOINT_MISSING_TENSOR", `${parts.name} has no tensor ${name}`, { name });
  };
  return {
    format: parts.format,
    name: parts.name,
    paths: parts.paths,
    model: parts.model,
    tensors,
    dominantType: dominantTypeOf(tensors),
    configJson: parts.configJson,
    ...(parts.ggufMetadata === undefined ? {} : { ggufMetadata: parts.ggufMetadata }),
    readRows(name, rowBegin, rowEnd, target) {
      reader.readRows(name, placeOf(name), rowBegin, rowEnd, target);
    },
    readStored(name, rowBegin, rowEnd, target) {
      reader.readStored(name, placeOf(name), rowBegin, rowEnd, target);
    },
    close() {
      for (const file of files) file.close();
      reader.release();
    },
  };
}

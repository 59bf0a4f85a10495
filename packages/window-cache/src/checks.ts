import type { CacheOptions } from "@flashlm/contracts";
import { FlashlmError } from "@flashlm/contracts";
import type { LayerState } from "./layer-state.js";

/** More units than any layer has; bounds what hostile sizes can allocate (about 12 bytes per unit). */
const UNIT_COUNT_MAX = 1 << 24;
/** More layers than any model has. */
const LAYER_COUNT_MAX = 4096;

function isCount(value: number, max: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= max;
}

/** Refuses sizes that make no sense. @throws CACHE_RANGE. */
export function checkOptions(options: CacheOptions): void {
  const { windowTokens, layers } = options;
  if (!isCount(windowTokens, Number.MAX_SAFE_INTEGER) || windowTokens < 1) {
    throw new FlashlmError(
      "CACHE_RANGE",
      `windowTokens must be a whole number of at least 1 (the current token counts), got ${windowTokens}`,
      { windowTokens },
    );
  }
  if (layers.length > LAYER_COUNT_MAX) {
    throw new FlashlmError(
      "CACHE_RANGE",
      `a cache has at most ${LAYER_COUNT_MAX} layers, got ${layers.length}`,
      { layerCount: layers.length },
    );
  }
  for (let layerIndex = 0; layerIndex < layers.length; layerIndex++) {
    const { unitCount, slotCount, pinnedCount } = layers[layerIndex]!;
    const valid =
      isCount(unitCount, UNIT_COUNT_MAX) &&
      isCount(slotCount, UNIT_COUNT_MAX) &&
      isCount(pinnedCount, Math.min(slotCount, unitCount));
    if (valid) continue;
    throw new FlashlmError(
      "CACHE_RANGE",
      `layer ${layerIndex}: expected whole numbers with pinnedCount <= slotCount, pinnedCount <= unitCount and at most ` +
        `${UNIT_COUNT_MAX} units and slots, got unitCount ${unitCount}, slotCount ${slotCount}, pinnedCount ${pinnedCount}`,
      { layerIndex, unitCount, slotCount, pinnedCount },
    );
  }
}

/** Refuses ids that are not strictly ascending units of the layer. One linear pass. @throws CACHE_RANGE, CACHE_DUPLICATE_ID. */
export function checkIds(layer: LayerState, ids: Uint32Array, count: number): void {
  const layerIndex = layer.layerIndex;
  if (!isCount(count, ids.length)) {
    throw new FlashlmError(
      "CACHE_RANGE",
      `layer ${layerIndex}: count must be a whole number from 0 to the ${ids.length} ids given, got ${count}`,
      { layerIndex, count, idCount: ids.length },
    );
  }
  let previous = -1;
  for (let position = 0; position < count; position++) {
    const id = ids[position]!;
    if (id <= previous) throw notAscending(layerIndex, position, previous, id);
    previous = id;
  }
  if (previous >= layer.unitCount) {
    throw new FlashlmError(
      "CACHE_RANGE",
      `layer ${layerIndex} has units 0 to ${layer.unitCount - 1}, got id ${previous}; check which layer the ids belong to`,
      { layerIndex, id: previous, unitCount: layer.unitCount },
    );
  }
}

function notAscending(layerIndex: number, position: number, previous: number, id: number): FlashlmError {
  return new FlashlmError(
    "CACHE_DUPLICATE_ID",
    `layer ${layerIndex}: ids must be strictly ascending, but position ${position} holds ${id} after ${previous}; ` +
      "sort them and remove duplicates",
    { layerIndex, position, previous, id },
  );
}

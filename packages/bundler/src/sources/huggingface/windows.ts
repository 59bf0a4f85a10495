import type { ModelConfig } from "@flashlm/contracts";
import { type ConfigValues, MODEL_LIMITS } from "../config-values.js";

type Windows = Pick<ModelConfig["attention"], "slidingWindow" | "windowLayers">;

const KINDS: readonly unknown[] = ["sliding_attention", "full_attention"];

function isKind(item: unknown): item is string {
  return KINDS.includes(item);
}

/**
 * Which layers see a window: those that `layer_types` says, else those that `fallback` says. Layers that all agree need no list.
 * @param isUsed - false: the config has a window, but does not use it.
 */
export function windowsOf(
  values: ConfigValues,
  layerCount: number,
  fallback: (layer: number) => boolean,
  defaultWindow: number | undefined,
  isUsed = true,
): Windows {
  const kinds = values.list("layer_types", layerCount, isKind, `of ${KINDS.join(" or ")}, one per layer`);
  const isWindow = (layer: number): boolean =>
    kinds === undefined ? fallback(layer) : kinds[layer] === "sliding_attention";
  const layers = Array.from({ length: layerCount }, (_, layer) => isUsed && isWindow(layer));
  if (!layers.includes(true)) return { slidingWindow: null };
  const slidingWindow = values.count("sliding_window", MODEL_LIMITS.contextLength, defaultWindow);
  return layers.includes(false) ? { slidingWindow, windowLayers: layers } : { slidingWindow };
}

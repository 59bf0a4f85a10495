import { FlashlmError } from "@flashlm/contracts";
import type { ModelFamily } from "./family.js";
import { nemotronFamily, optFamily, optPostNormFamily, persimmonFamily } from "./layer-norm-decoders.js";
import { llamaFamily, qwen3Family } from "./llama.js";
import { gemmaFamily, olmo2Family } from "./output-norm-decoders.js";
import { falconFamily, falconRwFamily, phiFamily } from "./parallel-decoders.js";

/** Families by the name in `ModelConfig.family`. */
export const MODEL_FAMILIES: ReadonlyMap<string, ModelFamily> = new Map(
  [
    llamaFamily,
    qwen3Family,
    nemotronFamily,
    persimmonFamily,
    optFamily,
    optPostNormFamily,
    falconFamily,
    falconRwFamily,
    phiFamily,
    gemmaFamily,
    olmo2Family,
  ].map((family) => [family.name, family]),
);

/** @throws ENGINE_CONTRACT for a family this runtime does not know, with those it does. */
export function findFamily(name: string): ModelFamily {
  const family = MODEL_FAMILIES.get(name);
  if (family) return family;
  throw new FlashlmError(
    "ENGINE_CONTRACT",
    `Expected one of the model families ${[...MODEL_FAMILIES.keys()].join(", ")} but the bundle is of family "${name}".`,
    { family: name },
  );
}

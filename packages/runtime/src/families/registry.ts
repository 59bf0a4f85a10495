import { FlashlmError } from "@flashlm/contracts";
import type { ModelFamily } from "./family.js";
import { llamaFamily } from "./llama.js";

/** Families by the name in `ModelConfig.family`. */
export const MODEL_FAMILIES: ReadonlyMap<string, ModelFamily> = new Map(
  [llamaFamily].map((family) => [family.name, family]),
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

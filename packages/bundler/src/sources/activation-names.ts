import { type ActivationName, type FfnActivation, FlashlmError } from "@flashlm/contracts";
import type { ConfigValues } from "./config-values.js";

const ACTIVATIONS: Readonly<Record<string, ActivationName>> = {
  silu: "silu",
  swish: "silu",
  relu: "relu",
  relu2: "relu2",
  relu_squared: "relu2",
  gelu: "gelu",
  gelu_python: "gelu",
  gelu_new: "gelu_tanh",
  gelu_fast: "gelu_tanh",
  gelu_tanh: "gelu_tanh",
  gelu_accurate: "gelu_tanh",
  gelu_python_tanh: "gelu_tanh",
  gelu_pytorch_tanh: "gelu_tanh",
};

/**
 * The activation that a config names; `fatrelu` takes its threshold from `KEY_param`.
 * @param key - e.g. `hidden_act`.
 * @param fallback - where it is absent.
 * @throws CHECKPOINT_UNSUPPORTED by name, CHECKPOINT_FORMAT.
 */
export function activationOf(values: ConfigValues, key: string, fallback = "silu"): FfnActivation {
  const name = values.string(key, fallback);
  if (name === "fatrelu") return { name: "relu", threshold: values.number(`${key}_param`, undefined, 0) };
  if (!Object.hasOwn(ACTIVATIONS, name)) {
    throw new FlashlmError(
      "CHECKPOINT_UNSUPPORTED",
      `the activation ${name} is not known; known are fatrelu, ${Object.keys(ACTIVATIONS).join(", ")}`,
      { activation: name },
    );
  }
  return { name: ACTIVATIONS[name]!, threshold: 0 };
}

import type { FfnActivation } from "@flashlm/contracts";

/** erfc for the exact GELU: a series of erf near zero, a continued fraction beyond. */
function complementaryError(z: number): number {
  const size = Math.abs(z);
  let tail: number;
  if (size < 2.5) {
    let term = size;
    let sum = size;
    for (let n = 3; term > sum * 1e-17; n += 2) {
      term *= (2 * size * size) / n;
      sum += term;
    }
    tail = 1 - (2 / Math.sqrt(Math.PI)) * Math.exp(-size * size) * sum;
  } else {
    let fraction = size;
    for (let n = 40; n > 0; n--) fraction = size + n / 2 / fraction;
    tail = Math.exp(-size * size) / fraction / Math.sqrt(Math.PI);
  }
  return z < 0 ? 2 - tail : tail;
}

function shape(name: FfnActivation["name"], x: number): number {
  if (x === Number.NEGATIVE_INFINITY) return 0;
  switch (name) {
    case "silu":
      return x / (1 + Math.exp(-x));
    case "relu":
      return Math.max(x, 0);
    case "relu2":
      return Math.max(x, 0) ** 2;
    case "gelu":
      return 0.5 * x * complementaryError(-x / Math.SQRT2);
    case "gelu_tanh":
      return x / (1 + Math.exp(-2 * Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
  }
}

/** An FFN activation; results at or below a positive threshold become zero. */
export function activate(activation: FfnActivation, x: number): number {
  const result = shape(activation.name, x);
  return activation.threshold > 0 && Math.fround(result) <= Math.fround(activation.threshold) ? 0 : result;
}

/** The activation of the up projection. */
export function activateUp(name: "none" | "relu", x: number): number {
  return name === "relu" ? Math.max(x, 0) : x;
}

const BETA_FIRST = 0.9;
const BETA_SECOND = 0.98;
const EPSILON = 1e-12;

/**
 * AdamW (Loshchilov and Hutter 2019) on one array of parameters: `p -= rate * (m / (sqrt(v) + epsilon) + decay * p)` with bias-corrected moments.
 * The second moment forgets in 50 steps, since heads train for a few hundred.
 */
export class AdamW {
  readonly #first: Float32Array;
  readonly #second: Float32Array;
  #stepCount = 0;

  constructor(parameterCount: number) {
    this.#first = new Float32Array(parameterCount);
    this.#second = new Float32Array(parameterCount);
  }

  /** Forgets all steps, for the next array of parameters of this length. */
  reset(): void {
    this.#first.fill(0);
    this.#second.fill(0);
    this.#stepCount = 0;
  }

  /** One step in place. `rate` is the learning rate, `decay` the weight decay, decoupled from the gradient. */
  step(parameters: Float32Array, gradients: Float32Array, rate: number, decay: number): void {
    this.#stepCount++;
    const first = this.#first;
    const second = this.#second;
    const firstScale = rate / (1 - BETA_FIRST ** this.#stepCount);
    const secondScale = 1 / (1 - BETA_SECOND ** this.#stepCount);
    const kept = 1 - rate * decay;
    for (let index = 0; index < parameters.length; index++) {
      const gradient = gradients[index]!;
      const m = BETA_FIRST * first[index]! + (1 - BETA_FIRST) * gradient;
      const v = BETA_SECOND * second[index]! + (1 - BETA_SECOND) * gradient * gradient;
      first[index] = m;
      second[index] = v;
      parameters[index] =
        kept * parameters[index]! - (firstScale * m) / (Math.sqrt(secondScale * v) + EPSILON);
    }
  }
}

/** Recorded activations of one layer, and which tokens train. Everything is borrowed for the length of a training. */
export interface HeadSamples {
  readonly hiddenSize: number;
  readonly neuronCount: number;
  /** bf16 FFN inputs that the head reads, `[tokenCount, hiddenSize]`. */
  readonly inputs: Uint16Array;
  /** bf16 FFN inputs of the layer whose neurons are named: the same array, or for a look-ahead head those of the next layer. */
  readonly targetInputs: Uint16Array;
  /** Contribution code of each neuron of that layer, `[tokenCount, neuronCount]`; 0 is not active. */
  readonly codes: Uint8Array;
  /** Contribution `abs(h) * norm(down)` of each code, `[256]`. */
  readonly contributionOfCode: Float32Array;
  /** Tokens that train, and tokens that only measure. */
  readonly training: Uint32Array;
  readonly heldOut: Uint32Array;
  /** What decides whether a neuron fires: it does where `weight * targetInput + bias > 0`. f32 `[neuronCount, hiddenSize]` and `[neuronCount]`. */
  readonly weight: Float32Array;
  readonly bias: Float32Array;
}

/** Row `token` of a bf16 matrix as f32, into `target`. */
export function unpackRow(
  source: Uint16Array,
  token: number,
  columnCount: number,
  target: Float32Array,
): void {
  const bits = new Uint32Array(target.buffer, target.byteOffset, columnCount);
  const from = token * columnCount;
  for (let column = 0; column < columnCount; column++) bits[column] = source[from + column]! << 16;
}

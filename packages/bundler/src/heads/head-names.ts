/** Which matrix of a published head a tensor is. */
export interface HeadRole {
  /** Null where the tensor's name does not say; then the file's does. */
  readonly layerIndex: number | null;
  /** `fc1`, `fc2`: two layers with a ReLU between (PowerInfer). `0`, `1`, `2`: steps of a sequence, where a ReLU is a step of its own. */
  readonly part: "fc1" | "fc2" | "0" | "1" | "2";
  readonly kind: "weight" | "bias";
}

/** Longer names are of something else; keeps the patterns cheap on hostile files. */
const NAME_LENGTH_MAX = 256;
/** `blk.7.fc1.weight`, `model.layers.7.mlp.predictor.fc2.weight`, `layers.7.0.weight`, or without a layer `fc1.weight`, `0.weight`. */
const TENSOR =
  /^(?:(?:\w+\.)*?(?:blk|layers?|blocks?|h)\.(\d{1,5})\.)?(?:[a-z_]+\.)*(fc1|fc2|[012])\.(weight|bias)$/;
/** One file a layer: `model_7.safetensors` (PowerInfer), `c4_layer7_-0.95-40.safetensors` (Deja Vu). */
const FILE = /(?:^model_|layer_?)(\d{1,5})(?!\d)/;

/** The role of a tensor by its name, or null for tensors of anything else. */
export function headRole(tensorName: string): HeadRole | null {
  if (tensorName.length > NAME_LENGTH_MAX) return null;
  const match = TENSOR.exec(tensorName);
  if (match === null) return null;
  return {
    layerIndex: match[1] === undefined ? null : Number(match[1]),
    part: match[2] as HeadRole["part"],
    kind: match[3] as HeadRole["kind"],
  };
}

/** The layer that a file's name says, or null. */
export function layerOfFile(fileName: string): number | null {
  const match = FILE.exec(fileName);
  return match === null ? null : Number(match[1]);
}

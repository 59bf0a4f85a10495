import { rowBytes } from "@flashlm/contracts";

/** Where the bytes that decide a number's size are, and what they are: small normal numbers, as models have. */
const PATTERNS = {
  f32: [4, 3, 0x3c],
  f16: [2, 1, 0x28],
  bf16: [2, 1, 0x3c],
  q8_0: [34, 1, 0x14],
  q4_0: [18, 1, 0x20],
  q4_1: [20, 1, 0x20],
};

/** Fills weights with small normal numbers: subnormal ones are slower to compute with and rare in models. */
export function fillWeights(dtype, bytes) {
  const [step, first, top] = PATTERNS[dtype];
  bytes.fill(0x93);
  for (let i = first; i < bytes.length; i += step) bytes[i] = top;
  if (dtype === "q4_1") for (let i = 3; i < bytes.length; i += step) bytes[i] = 0xa0;
}

/** A record layout with parts of one dtype each, side by side on 16 bytes. */
export function recordLayout(hiddenSize, dtypes) {
  let strideBytes = 0;
  const parts = Object.entries(dtypes).map(([part, dtype]) => {
    const lengthBytes = rowBytes(dtype, hiddenSize);
    const offsetBytes = strideBytes;
    strideBytes = Math.ceil((strideBytes + lengthBytes) / 16) * 16;
    return { part, dtype, offsetBytes, lengthBytes };
  });
  return { hiddenSize, strideBytes: Math.ceil(strideBytes / 512) * 512, parts };
}

export function word(set, value) {
  const handle = set.memory.allocate(4);
  set.memory.words(handle, 1)[0] = value;
  return handle;
}

export function randomFloats(set, count) {
  const handle = set.memory.allocate(count * 4);
  const values = set.memory.floats(handle, count);
  for (let i = 0; i < count; i++) values[i] = Math.random() - 0.5;
  return handle;
}

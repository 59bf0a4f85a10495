import type { KernelOp } from "@flashlm/contracts";
import { FlashlmError } from "@flashlm/contracts";

/** Every field of every op; the compiler sees to it that none is missing and none is invented. */
type FieldTable = {
  readonly [Op in KernelOp as Op["op"]]: Readonly<Record<Exclude<keyof Op, "op">, true>>;
};

const list = { addresses: true, order: true, orderBegin: true, orderEnd: true } as const;
const rows = { tokenCount: true, dim: true } as const;
const cache = {
  cacheDtype: true,
  position: true,
  keyCache: true,
  valueCache: true,
  capacityTokens: true,
} as const;
const scaled = { ...rows, scale: true, source: true, target: true } as const;
const ffn = {
  tokenCount: true,
  layout: true,
  addresses: true,
  activation: true,
  activationStride: true,
} as const;
const functions = { activationFn: true, upActivation: true } as const;

const FIELDS: FieldTable = {
  gatherRows: { scale: true, accumulate: true, tokenCount: true, table: true, rowIds: true, target: true },
  norm: {
    ...rows,
    kind: true,
    rowsPerToken: true,
    epsilon: true,
    source: true,
    target: true,
    weight: true,
    bias: true,
  },
  matmul: {
    precision: true,
    tokenCount: true,
    weight: true,
    source: true,
    target: true,
    bias: true,
    accumulate: true,
  },
  rope: {
    tokenCount: true,
    position: true,
    vector: true,
    headCount: true,
    headDim: true,
    rotaryDim: true,
    table: true,
  },
  storeKeyValue: { ...cache, tokenCount: true, keys: true, values: true, keyValueDim: true },
  attention: {
    ...cache,
    softCap: true,
    alibiSlopes: true,
    sinks: true,
    tokenCount: true,
    query: true,
    target: true,
    headCount: true,
    keyValueHeadCount: true,
    headDim: true,
    scale: true,
    window: true,
  },
  ffnActivations: {
    ...ffn,
    ...list,
    ...functions,
    precision: true,
    ids: true,
    source: true,
    mask: true,
    gateBias: true,
    upBias: true,
  },
  ffnDown: { ...ffn, positionCount: true, target: true, bias: true },
  neuronScores: {
    ...functions,
    precision: true,
    kind: true,
    tokenCount: true,
    gate: true,
    up: true,
    downNorm: true,
    source: true,
    scores: true,
  },
  crc32c: { ...list, lengthBytes: true, checksums: true },
  add: scaled,
  copy: scaled,
  softCap: { ...rows, cap: true, vector: true },
  softmax: { ...rows, temperature: true, vector: true },
  argmax: { ...rows, source: true, target: true },
  convert: { ...rows, sourceDtype: true, targetDtype: true, source: true, target: true },
};

/**
 * Refuses ops and fields that these targets do not know: what is ignored would change results in silence.
 * @throws KERNEL_NOT_SUPPORTED.
 */
export function checkFields(op: KernelOp): void {
  const known: Readonly<Record<string, true>> | undefined = Object.hasOwn(FIELDS, op.op)
    ? FIELDS[op.op]
    : undefined;
  if (known === undefined) {
    throw new FlashlmError(
      "KERNEL_NOT_SUPPORTED",
      `expected the name of an op, got "${op.op}"; use kernels of the same version as their caller`,
      { op: op.op },
    );
  }
  const unknown = Object.entries(op).find(
    ([name, value]) => name !== "op" && value !== undefined && !Object.hasOwn(known, name),
  );
  if (unknown === undefined) return;
  throw new FlashlmError(
    "KERNEL_NOT_SUPPORTED",
    `${op.op}: expected fields that these kernels know, got "${unknown[0]}"; use kernels of the same version as their caller`,
    { op: op.op, field: unknown[0] },
  );
}

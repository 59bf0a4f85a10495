import type { KernelOp } from "@flashlm/contracts";
import { rowBytes } from "@flashlm/contracts";
import { ATTENTION_POSITIONS_MAX, COLUMN_COUNT_USUAL } from "../assembly/layout.js";
import { ValueChecker } from "./check-values.js";
import { checkFields } from "./known-fields.js";

type OpOf<Name extends KernelOp["op"]> = Extract<KernelOp, { op: Name }>;

function checkNorm(op: OpOf<"norm">, check: ValueChecker): void {
  check.count("dim", op.dim);
  check.count("rowsPerToken", op.rowsPerToken);
  if (!(op.epsilon >= 0)) check.fail("an epsilon of at least 0", op.epsilon);
  const lengthBytes = op.dim * op.rowsPerToken * 4;
  check.handle("source", op.source, lengthBytes);
  check.handle("target", op.target, lengthBytes);
  check.vector("weight", op.weight, op.dim);
  check.vector("bias", op.bias, op.dim);
}

function checkMatmul(op: OpOf<"matmul">, check: ValueChecker): void {
  check.precision(op.precision);
  check.weight("weight", op.weight);
  check.handle("source", op.source, op.weight.columnCount * 4);
  check.handle("target", op.target, op.weight.rowCount * 4);
  check.vector("bias", op.bias, op.weight.rowCount);
}

function checkRope(op: OpOf<"rope">, check: ValueChecker): void {
  check.count("headCount", op.headCount);
  check.count("headDim", op.headDim);
  if (op.rotaryDim % 2 !== 0) check.fail("an even rotaryDim", op.rotaryDim);
  check.count("rotaryDim", op.rotaryDim, op.headDim);
  check.handle("position", op.position, 4);
  check.handle("vector", op.vector, op.headCount * op.headDim * 4);
  check.handle("table", op.table, op.rotaryDim * 4);
}

function checkStore(op: OpOf<"storeKeyValue">, check: ValueChecker): void {
  check.count("keyValueDim", op.keyValueDim);
  check.count("capacityTokens", op.capacityTokens);
  const cacheBytes = op.capacityTokens * check.cacheRow("keyValueDim", op.cacheDtype, op.keyValueDim);
  check.handle("position", op.position, 4);
  check.handle("keys", op.keys, op.keyValueDim * 4);
  check.handle("values", op.values, op.keyValueDim * 4);
  check.handle("keyCache", op.keyCache, cacheBytes);
  check.handle("valueCache", op.valueCache, cacheBytes);
}

function checkAttention(op: OpOf<"attention">, check: ValueChecker): void {
  check.count("headCount", op.headCount);
  check.count("keyValueHeadCount", op.keyValueHeadCount, op.headCount);
  if (op.headCount % op.keyValueHeadCount !== 0) {
    check.fail(`headCount to be a multiple of ${op.keyValueHeadCount} key-value heads`, op.headCount);
  }
  check.count("headDim", op.headDim);
  if (op.window !== null) check.count("window", op.window);
  check.count("capacityTokens", op.capacityTokens, ATTENTION_POSITIONS_MAX);
  const headBytes = check.cacheRow("headDim", op.cacheDtype, op.headDim);
  const cacheBytes = op.capacityTokens * op.keyValueHeadCount * headBytes;
  if (op.softCap !== undefined) check.positive("softCap", op.softCap);
  check.vector("alibiSlopes", op.alibiSlopes, op.headCount);
  check.vector("sinks", op.sinks, op.headCount);
  check.handle("position", op.position, 4);
  check.handle("query", op.query, op.headCount * op.headDim * 4);
  check.handle("target", op.target, op.headCount * op.headDim * 4);
  check.handle("keyCache", op.keyCache, cacheBytes);
  check.handle("valueCache", op.valueCache, cacheBytes);
}

function checkActivations(op: OpOf<"ffnActivations">, check: ValueChecker): void {
  check.layout(op.layout);
  check.precision(op.precision);
  if (!op.layout.parts.some(({ part }) => part === "up")) check.fail("a record with an up part", "none");
  check.count("activationStride", op.activationStride);
  for (const name of ["addresses", "ids", "order", "orderBegin", "orderEnd"] as const)
    check.handle(name, op[name], 4);
  check.handle("source", op.source, op.layout.hiddenSize * 4);
  check.handle("activation", op.activation, op.activationStride * 4);
  check.vector("gateBias", op.gateBias, 1);
  check.vector("upBias", op.upBias, 1);
  if (op.mask === undefined) return;
  check.count("mask stride", op.mask.stride);
  check.handle("mask", op.mask.base, op.mask.stride, 1);
}

function checkDown(op: OpOf<"ffnDown">, check: ValueChecker): void {
  check.layout(op.layout);
  if (!op.layout.parts.some(({ part }) => part === "down")) check.fail("a record with a down part", "none");
  check.count("activationStride", op.activationStride);
  check.handle("addresses", op.addresses, 4);
  check.handle("positionCount", op.positionCount, 4);
  check.handle("activation", op.activation, op.activationStride * 4);
  check.handle("target", op.target, op.layout.hiddenSize * 4);
  check.vector("bias", op.bias, op.layout.hiddenSize);
}

function checkScores(op: OpOf<"neuronScores">, check: ValueChecker): void {
  check.precision(op.precision);
  check.weight("gate", op.gate);
  check.handle("source", op.source, op.gate.columnCount * 4);
  check.handle("scores", op.scores, op.gate.rowCount * 4);
  if (op.kind === "gate") return;
  if (op.up === undefined) check.fail(`an up weight for kind "${op.kind}"`, "none");
  check.weight("up", op.up);
  if (op.up.rowCount !== op.gate.rowCount || op.up.columnCount !== op.gate.columnCount) {
    check.fail(
      `up of ${op.gate.rowCount} x ${op.gate.columnCount}`,
      `${op.up.rowCount} x ${op.up.columnCount}`,
    );
  }
  if (op.kind === "product") return;
  if (op.downNorm === undefined) check.fail('a downNorm for kind "contribution"', "none");
  check.vector("downNorm", op.downNorm, op.gate.rowCount);
}

function checkGather(op: OpOf<"gatherRows">, check: ValueChecker): void {
  if (op.scale !== undefined) check.finite("scale", op.scale);
  check.weight("table", op.table);
  check.handle("rowIds", op.rowIds, 4);
  check.handle("target", op.target, op.table.columnCount * 4);
}

function checkCrc(op: OpOf<"crc32c">, check: ValueChecker): void {
  check.count("lengthBytes", op.lengthBytes);
  for (const name of ["addresses", "order", "orderBegin", "orderEnd", "checksums"] as const) {
    check.handle(name, op[name], 4);
  }
}

function checkScaled(op: OpOf<"add"> | OpOf<"copy">, check: ValueChecker): void {
  check.count("dim", op.dim);
  check.finite("scale", op.scale);
  check.handle("source", op.source, op.dim * 4);
  check.handle("target", op.target, op.dim * 4);
}

function checkVector(op: OpOf<"softCap"> | OpOf<"softmax">, check: ValueChecker): void {
  check.count("dim", op.dim);
  if (op.op === "softCap") check.positive("cap", op.cap);
  else check.positive("temperature", op.temperature);
  check.handle("vector", op.vector, op.dim * 4);
}

function checkArgmax(op: OpOf<"argmax">, check: ValueChecker): void {
  check.count("dim", op.dim);
  check.handle("source", op.source, op.dim * 4);
  check.handle("target", op.target, 4);
}

function checkConvert(op: OpOf<"convert">, check: ValueChecker): void {
  for (const [name, dtype] of [
    ["source", op.sourceDtype],
    ["target", op.targetDtype],
  ] as const) {
    check.row(name, dtype, op.dim);
    check.handle(name, op[name], rowBytes(dtype, op.dim), dtype === "f32" ? 4 : 2);
  }
}

const CHECKS: { readonly [Name in KernelOp["op"]]: (op: OpOf<Name>, check: ValueChecker) => void } = {
  gatherRows: checkGather,
  norm: checkNorm,
  matmul: checkMatmul,
  rope: checkRope,
  storeKeyValue: checkStore,
  attention: checkAttention,
  ffnActivations: checkActivations,
  ffnDown: checkDown,
  neuronScores: checkScores,
  crc32c: checkCrc,
  add: checkScaled,
  copy: checkScaled,
  softCap: checkVector,
  softmax: checkVector,
  argmax: checkArgmax,
  convert: checkConvert,
};

function checkOp(op: KernelOp, memoryBytes: number, columnCountMax: number): void {
  checkFields(op);
  const check = new ValueChecker(op.op, memoryBytes, columnCountMax);
  if ("tokenCount" in op) check.handle("tokenCount", op.tokenCount, 4);
  (CHECKS[op.op] as (op: KernelOp, check: ValueChecker) => void)(op, check);
}

/**
 * Checks shapes, rows of at most `columnCountMax` weights, alignment and that one token's worth of every operand lies within memory.
 * @throws KERNEL_SHAPE, KERNEL_NOT_SUPPORTED.
 */
export function checkOps(
  ops: readonly KernelOp[],
  memoryBytes: number,
  columnCountMax: number = COLUMN_COUNT_USUAL,
): void {
  for (const op of ops) checkOp(op, memoryBytes, columnCountMax);
}

import type { KernelOp, MemoryHandle, VectorRef } from "@flashlm/contracts";
import { ADDRESS_UNIT_BYTES } from "@flashlm/contracts";
import { encodeCommand } from "../encode.js";
import { addressOf } from "./jobs.js";
import type { Segments } from "./segments.js";

/** An op and what is known of where its operands lie. */
export interface Step {
  readonly op: KernelOp;
  /** Its command, where all that is fixed lies in the first memory. */
  readonly command: readonly number[] | null;
  /** References that are found when it runs. */
  readonly moving: readonly VectorRef[];
  /** An op before it writes whole numbers, which may be words that this one is told by. */
  readonly waits: boolean;
}

type Found = MemoryHandle | { readonly addressWord: MemoryHandle; readonly offsetBytes: number };

function isReference(value: object): value is Found {
  return "offsetBytes" in value && ("arenaId" in value || "addressWord" in value);
}

/** All handles and moving references of an op. */
function referencesOf(value: object): Found[] {
  if (isReference(value)) return [value];
  return Object.values(value).flatMap((part) =>
    typeof part === "object" && part !== null ? referencesOf(part) : [],
  );
}

/** Steps of a program. */
export function stepsOf(ops: readonly KernelOp[], segmentBytes: number): Step[] {
  let waits = false;
  return ops.map((op) => {
    const references = referencesOf(op);
    const moving = references.filter((reference) => "addressWord" in reference);
    const fixed = references.map((reference) =>
      "addressWord" in reference ? reference.addressWord : reference,
    );
    const isNear = fixed.every(({ offsetBytes }) => offsetBytes < segmentBytes);
    const step = { op, command: isNear ? encodeCommand(op) : null, moving, waits };
    waits ||= op.op === "argmax" || op.op === "crc32c";
    return step;
  });
}

/** True where the records that an op is told of all lie in the first memory. */
function areRecordsNear(op: KernelOp, segments: Segments): boolean {
  if (op.op !== "ffnActivations" && op.op !== "ffnDown" && op.op !== "crc32c") return true;
  const endUnits = segments.segmentBytes / ADDRESS_UNIT_BYTES;
  const addresses = segments.list(op.addresses.offsetBytes);
  if (op.op === "ffnDown") {
    const count = segments.word(op.positionCount.offsetBytes);
    for (let position = 0; position < count; position++) if (addresses[position]! >= endUnits) return false;
    return true;
  }
  const order = segments.list(op.order.offsetBytes);
  const end = segments.word(op.orderEnd.offsetBytes);
  for (let k = segments.word(op.orderBegin.offsetBytes); k < end; k++)
    if (addresses[order[k]!]! >= endUnits) return false;
  return true;
}

/** The step's command where it can run in the first memory as it is, else null. */
export function nearCommand(step: Step, segments: Segments): readonly number[] | null {
  if (step.command === null) return null;
  const isNear =
    step.moving.every((reference) => addressOf(segments, reference) < segments.segmentBytes) &&
    areRecordsNear(step.op, segments);
  return isNear ? step.command : null;
}

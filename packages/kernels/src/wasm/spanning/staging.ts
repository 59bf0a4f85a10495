import { alignUp, FlashlmError, type KernelOp, type MemoryHandle } from "@flashlm/contracts";
import type { Bench } from "./bench.js";

/** Rows of bytes that an op reads or writes. */
export interface Operand {
  readonly address: number;
  readonly rowBytes: number;
  /** Absent where every token has a row of its own; else the same rows serve all tokens. */
  readonly rowCount?: number;
  /** From row to row; `rowBytes` unless given. Rows with gaps are always brought together. */
  readonly pitchBytes?: number;
  readonly use: "read" | "write" | "update";
}

/** An op over operands that may lie in different memories. Its tokens do not depend on one another, or only in ascending order. */
export interface Job {
  readonly operands: Readonly<Record<string, Operand>>;
  /** Words that the op points at, for tokens from `firstToken` on. */
  readonly words?: (firstToken: number) => Readonly<Record<string, number>>;
  /** The op with operands and words at these places. */
  readonly op: (places: Readonly<Record<string, MemoryHandle>>) => KernelOp;
}

/** Where a job runs and how many tokens at a time. */
interface Choice {
  readonly index: number;
  readonly tokensAtOnce: number;
  readonly copiedBytes: number;
}

const LINE_BYTES = 64;

const pitchOf = ({ pitchBytes, rowBytes }: Operand): number => pitchBytes ?? rowBytes;

function isStaged(bench: Bench, operand: Operand, index: number): boolean {
  return pitchOf(operand) !== operand.rowBytes || bench.segments.indexOf(operand.address) !== index;
}

/** What it takes to run a job in a memory, or null where the bench has too little room. */
function choiceIn(bench: Bench, job: Job, tokenCount: number, index: number): Choice | null {
  let sharedBytes = 0;
  let tokenBytes = 0;
  let slackBytes = 0;
  for (const operand of Object.values(job.operands)) {
    if (!isStaged(bench, operand, index)) continue;
    if (operand.rowCount === undefined) tokenBytes += operand.rowBytes;
    else sharedBytes += operand.rowBytes * operand.rowCount;
    slackBytes += LINE_BYTES;
  }
  const roomBytes = bench.roomBytes - sharedBytes - slackBytes;
  const affordable = tokenBytes === 0 ? tokenCount : Math.floor(roomBytes / tokenBytes);
  const tokensAtOnce = Math.min(tokenCount, affordable);
  if (roomBytes < 0 || tokensAtOnce < 1) return null;
  const copiedBytes = sharedBytes * Math.ceil(tokenCount / tokensAtOnce) + tokenBytes * tokenCount;
  return { index, tokensAtOnce, copiedBytes };
}

/** The memory in which the least has to be copied, or null where no operand's memory has room for the others. */
function choose(bench: Bench, job: Job, tokenCount: number): Choice | null {
  let best: Choice | null = null;
  const indices = Object.values(job.operands).map(({ address }) => bench.segments.indexOf(address));
  for (const index of new Set(indices)) {
    const choice = choiceIn(bench, job, tokenCount, index);
    if (choice && (best === null || choice.copiedBytes < best.copiedBytes)) best = choice;
  }
  return best;
}

/** True where some memory has room for a job's other operands, of one token at least. */
export function fitsBench(bench: Bench, job: Job): boolean {
  return choose(bench, job, 1) !== null;
}

/** Rows of an operand for some tokens. */
function rowsOf(operand: Operand, firstToken: number, tokenCount: number): { address: number; rows: number } {
  if (operand.rowCount !== undefined) return { address: operand.address, rows: operand.rowCount };
  return { address: operand.address + firstToken * pitchOf(operand), rows: tokenCount };
}

function runTokens(bench: Bench, job: Job, index: number, firstToken: number, tokenCount: number): void {
  const { segments } = bench;
  const places: Record<string, MemoryHandle> = {};
  bench.open(index);
  for (const [name, operand] of Object.entries(job.operands)) {
    const { address, rows } = rowsOf(operand, firstToken, tokenCount);
    if (!isStaged(bench, operand, index)) {
      places[name] = bench.handleOf(address);
      continue;
    }
    const place = bench.reserve(rows * operand.rowBytes);
    places[name] = place;
    if (operand.use === "write") continue;
    const to = { address: bench.addressOf(place), pitchBytes: operand.rowBytes };
    segments.copy(to, { address, pitchBytes: pitchOf(operand) }, operand.rowBytes, rows);
  }
  for (const [name, value] of Object.entries(job.words?.(firstToken) ?? {})) places[name] = bench.word(value);
  bench.run(job.op(places), tokenCount);
  for (const [name, operand] of Object.entries(job.operands)) {
    if (operand.use === "read" || !isStaged(bench, operand, index)) continue;
    const { address, rows } = rowsOf(operand, firstToken, tokenCount);
    const from = { address: bench.addressOf(places[name]!), pitchBytes: operand.rowBytes };
    segments.copy({ address, pitchBytes: pitchOf(operand) }, from, operand.rowBytes, rows);
  }
}

/**
 * Runs a job where the least has to be copied: operands in other memories are brought to scratch, and results taken back, as many
 * tokens at a time as fit. @throws KERNEL_SHAPE, KERNEL_NOT_SUPPORTED where not even one token fits.
 */
export function runJob(bench: Bench, job: Job, tokenCount: number): void {
  if (tokenCount <= 0) return;
  for (const operand of Object.values(job.operands)) {
    const rows = operand.rowCount ?? tokenCount;
    bench.segments.check(operand.address, (rows - 1) * pitchOf(operand) + operand.rowBytes);
  }
  const choice = choose(bench, job, tokenCount);
  if (choice === null) throw tooLong(bench, job);
  for (let first = 0; first < tokenCount; first += choice.tokensAtOnce)
    runTokens(bench, job, choice.index, first, Math.min(choice.tokensAtOnce, tokenCount - first));
}

function tooLong(bench: Bench, job: Job): FlashlmError {
  const lengths = Object.entries(job.operands).map(
    ([name, { rowBytes, rowCount = 1 }]) => `${name} ${alignUp(rowBytes * rowCount, 4)}`,
  );
  return new FlashlmError(
    "KERNEL_NOT_SUPPORTED",
    `expected an op whose operands lie in one memory, or beside the longest of them no more than ${bench.roomBytes} bytes, ` +
      `got ${lengths.join(", ")} bytes in several memories; allocate its operands together`,
    { roomBytes: bench.roomBytes },
  );
}

import type { KernelOp } from "@flashlm/contracts";
import { attention, storeKeyValue } from "./attention.js";
import type { Bench } from "./bench.js";
import { DownProjection } from "./down.js";
import {
  argmaxJob,
  convertJob,
  elementsJob,
  gatherJob,
  matmulJob,
  normJob,
  ropeJob,
  scoresJob,
  softmaxJob,
} from "./jobs.js";
import { RecordLists } from "./records.js";
import { fitsBench, type Job, runJob } from "./staging.js";

/** Runs ops whose operands do not all lie in the first memory. Results are those of one memory, bit for bit. */
export class FarOps {
  readonly #bench: Bench;
  readonly #records: RecordLists;
  readonly #down: DownProjection;

  constructor(bench: Bench) {
    this.#bench = bench;
    this.#records = new RecordLists(bench);
    this.#down = new DownProjection(bench);
  }

  /** @throws KERNEL_SHAPE for words that are wrong, KERNEL_NOT_SUPPORTED where operands are too long to be brought together. */
  run(op: KernelOp): void {
    const bench = this.#bench;
    const { segments } = bench;
    const tokenCount = "tokenCount" in op ? segments.word(op.tokenCount.offsetBytes) | 0 : 1;
    if (tokenCount <= 0) return;
    switch (op.op) {
      case "gatherRows":
        runJob(bench, gatherJob(op, segments), tokenCount);
        return;
      case "norm":
        runJob(bench, normJob(op, segments), tokenCount);
        return;
      case "matmul":
        this.#byRows(op.weight.rowCount, tokenCount, (first, count) => matmulJob(op, segments, first, count));
        return;
      case "neuronScores":
        this.#byRows(op.gate.rowCount, tokenCount, (first, count) => scoresJob(op, segments, first, count));
        return;
      case "rope":
        runJob(bench, ropeJob(op, segments), tokenCount);
        return;
      case "storeKeyValue":
        storeKeyValue(op, bench, tokenCount);
        return;
      case "attention":
        attention(op, bench, tokenCount);
        return;
      case "ffnActivations":
        this.#records.activations(op, tokenCount);
        return;
      case "ffnDown":
        this.#down.run(op, tokenCount);
        return;
      case "crc32c":
        this.#records.checksums(op);
        return;
      case "add":
      case "copy":
      case "softCap":
        runJob(bench, elementsJob(op), tokenCount * op.dim);
        return;
      case "softmax":
        runJob(bench, softmaxJob(op), tokenCount);
        return;
      case "argmax":
        runJob(bench, argmaxJob(op), tokenCount);
        return;
      case "convert":
        runJob(bench, convertJob(op), tokenCount);
        return;
    }
  }

  /** All rows of a matrix at once, or as many as have room where weights or results are long and lie apart. */
  #byRows(rowCount: number, tokenCount: number, jobOf: (first: number, count: number) => Job): void {
    let rowsAtOnce = rowCount;
    while (rowsAtOnce > 1 && !fitsBench(this.#bench, jobOf(0, rowsAtOnce)))
      rowsAtOnce = Math.ceil(rowsAtOnce / 2);
    for (let first = 0; first < rowCount; first += rowsAtOnce)
      runJob(this.#bench, jobOf(first, Math.min(rowsAtOnce, rowCount - first)), tokenCount);
  }
}

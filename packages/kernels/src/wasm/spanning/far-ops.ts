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
        return runJob(bench, gatherJob(op, segments), tokenCount);
      case "norm":
        return runJob(bench, normJob(op, segments), tokenCount);
      case "matmul":
        return this.#byRows(op.weight.rowCount, tokenCount, (first, count) =>
          matmulJob(op, segments, first, count),
        );
      case "neuronScores":
        return this.#byRows(op.gate.rowCount, tokenCount, (first, count) =>
          scoresJob(op, segments, first, count),
        );
      case "rope":
        return runJob(bench, ropeJob(op, segments), tokenCount);
      case "storeKeyValue":
        return storeKeyValue(op, bench, tokenCount);
      case "attention":
        return attention(op, bench, tokenCount);
      case "ffnActivations":
        return this.#records.activations(op, tokenCount);
      case "ffnDown":
        return this.#down.run(op, tokenCount);
      case "crc32c":
        return this.#records.checksums(op);
      case "add":
      case "copy":
      case "softCap":
        return runJob(bench, elementsJob(op), tokenCount * op.dim);
      case "softmax":
        return runJob(bench, softmaxJob(op), tokenCount);
      case "argmax":
        return runJob(bench, argmaxJob(op), tokenCount);
      case "convert":
        return runJob(bench, convertJob(op), tokenCount);
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

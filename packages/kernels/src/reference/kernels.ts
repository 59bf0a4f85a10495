import type { KernelMemory, KernelOp, KernelProgram, KernelSet, KernelSetOptions } from "@flashlm/contracts";
import { alignUp, FlashlmError } from "@flashlm/contracts";
import { ArenaMemory } from "../arena-memory.js";
import { checkOps } from "../check-ops.js";
import { checkOptions } from "../limits.js";
import { attention } from "./attention.js";
import { crc32c } from "./crc32c.js";
import { add, argmax, convert, copy, softCap, softmax } from "./elementwise.js";
import { ffnActivations } from "./ffn-activations.js";
import { ffnDown } from "./ffn-down.js";
import { gatherRows } from "./gather-rows.js";
import { matmul } from "./matmul.js";
import { neuronScores } from "./neuron-scores.js";
import { norm } from "./norm.js";
import { rope } from "./rope.js";
import { storeKeyValue } from "./store-key-value.js";
import { Views } from "./views.js";

/** Offset 0 names no memory, as in the other targets. */
const HEAP_BYTES = 64;

function runOp(op: KernelOp, views: Views): void {
  switch (op.op) {
    case "gatherRows":
      gatherRows(op, views);
      return;
    case "norm":
      norm(op, views);
      return;
    case "matmul":
      matmul(op, views);
      return;
    case "rope":
      rope(op, views);
      return;
    case "storeKeyValue":
      storeKeyValue(op, views);
      return;
    case "attention":
      attention(op, views);
      return;
    case "ffnActivations":
      ffnActivations(op, views);
      return;
    case "ffnDown":
      ffnDown(op, views);
      return;
    case "neuronScores":
      neuronScores(op, views);
      return;
    case "crc32c":
      crc32c(op, views);
      return;
    case "add":
      add(op, views);
      return;
    case "copy":
      copy(op, views);
      return;
    case "softCap":
      softCap(op, views);
      return;
    case "softmax":
      softmax(op, views);
      return;
    case "argmax":
      argmax(op, views);
      return;
    case "convert":
      convert(op, views);
      return;
  }
}

class ReferenceProgram implements KernelProgram {
  constructor(
    readonly ops: readonly KernelOp[],
    readonly owner: ReferenceKernels,
  ) {}

  get opCount(): number {
    return this.ops.length;
  }
}

class ReferenceKernels implements KernelSet {
  readonly contractVersion = 1;
  readonly target = "reference";
  readonly threadCount = 1;
  readonly memory: KernelMemory;
  readonly #views: Views;
  readonly #columnCountMax: number | undefined;
  #closed = false;

  constructor(options: KernelSetOptions) {
    let buffer: SharedArrayBuffer;
    try {
      buffer = new SharedArrayBuffer(alignUp(options.memoryBytes, 16));
    } catch (error) {
      const { memoryBytes } = options;
      const message = `the system refused ${memoryBytes} bytes of kernel memory; ask for less`;
      throw new FlashlmError("KERNEL_MEMORY", message, { memoryBytes }, error);
    }
    this.memory = new ArenaMemory(buffer, options.memoryBytes, HEAP_BYTES);
    this.#views = new Views(buffer);
    this.#columnCountMax = options.columnCountMax;
  }

  supports(): boolean {
    return true;
  }

  compile(ops: readonly KernelOp[]): KernelProgram {
    this.#checkOpen();
    checkOps(ops, this.memory.arenas[0]!.lengthBytes, this.#columnCountMax);
    return new ReferenceProgram([...ops], this);
  }

  run(program: KernelProgram): void {
    this.#checkOpen();
    if (!(program instanceof ReferenceProgram) || program.owner !== this) {
      throw new FlashlmError(
        "KERNEL_SHAPE",
        "expected a program that this kernel set compiled, got another's",
      );
    }
    for (const op of program.ops) runOp(op, this.#views);
  }

  async close(): Promise<void> {
    this.#closed = true;
  }

  #checkOpen(): void {
    if (this.#closed) {
      throw new FlashlmError(
        "KERNEL_LOAD",
        "this kernel set cannot be used any more: it is closed; make a new one",
      );
    }
  }
}

/**
 * Kernels in plain TypeScript with f64 sums: slow, and what the others are measured against. Always one thread,
 * whatever `threadCount` asks for. Memory is one SharedArrayBuffer, arena id 0.
 * @throws KERNEL_MEMORY, KERNEL_NOT_SUPPORTED for options that no set can be made with.
 */
export async function createReferenceKernels(options: KernelSetOptions): Promise<KernelSet> {
  checkOptions(options);
  return new ReferenceKernels(options);
}

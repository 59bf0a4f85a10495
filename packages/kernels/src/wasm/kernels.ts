/// <reference path="./web-assembly.d.ts" />
import type { KernelMemory, KernelOp, KernelProgram, KernelSet, KernelSetOptions } from "@flashlm/contracts";
import { FlashlmError } from "@flashlm/contracts";
import * as layout from "../../assembly/layout.js";
import { ArenaMemory } from "../arena-memory.js";
import { checkOps } from "../check-ops.js";
import { checkOptions, PAGE_BYTES, scratchLayout } from "../limits.js";
import { encodeProgram } from "./encode.js";
import { kernelImports } from "./imports.js";
import { loadModule, type WasmVariant } from "./module.js";
import { WorkerPool } from "./worker-pool.js";

/** Most pages that the compiled kernels accept; their import says so too. */
const MODULE_PAGES_MAX = 65536;

interface KernelExports {
  initialise(threadCount: number, scratchStart: number, scratchBytes: number, tokensBytes: number): void;
  run(): number;
}

class WasmProgram implements KernelProgram {
  constructor(
    readonly opCount: number,
    readonly owner: WasmKernels,
    readonly words: Uint32Array,
  ) {}
}

function faultOf(code: number): FlashlmError {
  if (code === layout.FAULT_ROW_ID) {
    return new FlashlmError(
      "KERNEL_SHAPE",
      "gatherRows: expected row ids below the table's rowCount, got a larger one",
    );
  }
  return new FlashlmError(
    "KERNEL_SHAPE",
    "expected record addresses (units of 16 bytes) whose record lies within kernel memory, got 0 or one beyond it",
  );
}

class WasmKernels implements KernelSet {
  readonly contractVersion = 1;
  readonly target: string;
  readonly threadCount: number;
  readonly memory: KernelMemory;
  readonly #exports: KernelExports;
  readonly #words: Int32Array;
  readonly #workers: WorkerPool;
  readonly #columnCountMax: number;
  #loaded: WasmProgram | undefined;
  #broken = "";

  constructor(
    variant: WasmVariant,
    options: KernelSetOptions,
    memory: WebAssembly.Memory,
    exports: KernelExports,
    workers: WorkerPool,
  ) {
    this.target = `wasm-${variant}`;
    this.threadCount = options.threadCount;
    this.memory = new ArenaMemory(memory.buffer, options.memoryBytes, scratchLayout(options).heapBytes);
    this.#columnCountMax = options.columnCountMax ?? layout.COLUMN_COUNT_MAX;
    this.#exports = exports;
    this.#words = new Int32Array(memory.buffer);
    this.#workers = workers;
  }

  supports(): boolean {
    return true;
  }

  compile(ops: readonly KernelOp[]): KernelProgram {
    this.#checkUsable();
    checkOps(ops, this.memory.arenas[0]!.lengthBytes, this.#columnCountMax);
    if (ops.length > layout.OP_COUNT_MAX) {
      throw new FlashlmError(
        "KERNEL_NOT_SUPPORTED",
        `expected at most ${layout.OP_COUNT_MAX} ops in a program but received ${ops.length}; compile two programs`,
        { opCount: ops.length },
      );
    }
    return new WasmProgram(ops.length, this, encodeProgram(ops));
  }

  run(program: KernelProgram): void {
    this.#checkUsable();
    if (!(program instanceof WasmProgram) || program.owner !== this) {
      throw new FlashlmError(
        "KERNEL_SHAPE",
        "expected a program that this kernel set compiled, got another's",
      );
    }
    if (program.opCount === 0) return;
    // No thread reads the words of a program that is over.
    if (program !== this.#loaded) this.#words.set(program.words, layout.PROGRAM_BASE / 4);
    this.#loaded = program;
    let code: number;
    try {
      code = this.#exports.run();
    } catch (error) {
      this.#breakDown("an op reached beyond kernel memory; a token count, position or address word is wrong");
      throw new FlashlmError("KERNEL_SHAPE", this.#broken, {}, error);
    }
    if (code === -1) {
      this.#breakDown("a kernel thread stopped; an op reached beyond kernel memory there");
      throw new FlashlmError("KERNEL_SHAPE", this.#broken);
    }
    if (code !== 0) throw faultOf(code);
  }

  async close(): Promise<void> {
    if (this.#broken === "") this.#broken = "the kernel set is closed";
    await this.#workers.close();
  }

  #breakDown(reason: string): void {
    this.#broken = reason;
    Atomics.store(this.#words, layout.FAILED / 4, 1);
    Atomics.notify(this.#words, layout.SERIAL / 4);
  }

  #checkUsable(): void {
    if (this.#broken !== "") {
      throw new FlashlmError(
        "KERNEL_LOAD",
        `this kernel set cannot be used any more: ${this.#broken}; make a new one`,
      );
    }
  }
}

/** `KernelSetOptions` and the build. */
export interface WasmKernelsOptions extends KernelSetOptions {
  /** Unless given, the fastest that the engine runs. */
  readonly variant?: WasmVariant;
}

/**
 * Kernels in WebAssembly SIMD. `threadCount - 1` worker threads are started; the calling thread is the other one and
 * blocks in `run`. Resolves when all are ready. Memory is one shared arena, id 0, address space until touched.
 * @throws KERNEL_MEMORY (size beyond 4 GiB - 64 KiB, or the system refused), KERNEL_NOT_SUPPORTED, KERNEL_LOAD.
 */
export async function createWasmKernels(options: WasmKernelsOptions): Promise<KernelSet> {
  checkOptions(options);
  const { variant, module } = await loadModule(options.variant);
  const pages = Math.ceil(options.memoryBytes / PAGE_BYTES);
  let memory: WebAssembly.Memory;
  try {
    memory = new WebAssembly.Memory({
      initial: pages,
      maximum: Math.min(pages, MODULE_PAGES_MAX),
      shared: true,
    });
  } catch (error) {
    const { memoryBytes } = options;
    throw new FlashlmError(
      "KERNEL_MEMORY",
      `the system refused ${memoryBytes} bytes of kernel memory; ask for less`,
      { memoryBytes },
      error,
    );
  }
  const instance = await WebAssembly.instantiate(module, kernelImports(memory));
  const exports = instance.exports as unknown as KernelExports;
  const { startBytes, threadBytes, tokensBytes } = scratchLayout(options);
  exports.initialise(options.threadCount, startBytes, threadBytes, tokensBytes);
  const workers = new WorkerPool(module, memory);
  await workers.start(options.threadCount - 1);
  return new WasmKernels(variant, options, memory, exports, workers);
}

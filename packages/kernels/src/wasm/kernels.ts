/// <reference path="./web-assembly.d.ts" />
import type { KernelMemory, KernelOp, KernelProgram, KernelSet, KernelSetOptions } from "@flashlm/contracts";
import { FlashlmError } from "@flashlm/contracts";
import { ArenaMemory } from "../arena-memory.js";
import { checkOps } from "../check-ops.js";
import {
  checkSpanningOptions,
  exchangeBytes,
  MEMORY_BYTES_MAX,
  PAGE_BYTES,
  scratchLayout,
  segmentCount,
} from "../limits.js";
import { encodeProgram } from "./encode.js";
import { instantiateEach } from "./imports.js";
import { loadModule, type WasmVariant } from "./module.js";
import { type Crew, checkOpCount, checkOwner, Runner } from "./runner.js";
import { SpanningKernels } from "./spanning/kernels.js";
import type { Placement } from "./spanning/memory.js";
import { WorkerPool } from "./worker-pool.js";

/** Most pages that the compiled kernels accept; their import says so too. */
const MODULE_PAGES_MAX = 65536;

/** `KernelSetOptions`, the build, and, for tests, how the arena is made of several memories. */
export interface WasmKernelsOptions extends KernelSetOptions {
  /** Unless given, the fastest build that the engine runs. */
  readonly variant?: WasmVariant;
  /** Bytes of one memory, in whole pages of 64 KiB; the arena has more than one where it is longer. Just below 4 GiB unless given. */
  readonly segmentBytes?: number;
  /** "sized" keeps small allocations in the first memory; "scattered" puts each allocation into the next one. */
  readonly placement?: Placement;
}

class WasmProgram implements KernelProgram {
  constructor(
    readonly opCount: number,
    readonly owner: WasmKernels,
    readonly words: Uint32Array,
  ) {}
}

class WasmKernels implements KernelSet {
  readonly contractVersion = 1;
  readonly target: string;
  readonly threadCount: number;
  readonly memory: KernelMemory;
  readonly #columnCountMax: number | undefined;
  readonly #runner: Runner;

  constructor(options: KernelSetOptions, crew: Crew) {
    this.target = crew.target;
    this.threadCount = options.threadCount;
    const { buffer } = crew.memories[0]!;
    this.memory = new ArenaMemory(buffer, options.memoryBytes, scratchLayout(options).heapBytes);
    this.#columnCountMax = options.columnCountMax;
    this.#runner = new Runner(crew);
  }

  supports(): boolean {
    return true;
  }

  compile(ops: readonly KernelOp[]): KernelProgram {
    this.#runner.checkUsable();
    checkOps(ops, this.memory.arenas[0]!.lengthBytes, this.#columnCountMax);
    checkOpCount(ops.length);
    return new WasmProgram(ops.length, this, encodeProgram(ops));
  }

  run(program: KernelProgram): void {
    this.#runner.checkUsable();
    checkOwner(program, WasmProgram, this);
    if (program.opCount > 0) this.#runner.run(program.words);
  }

  close(): Promise<void> {
    return this.#runner.close();
  }
}

/**
 * Kernels in WebAssembly SIMD. `threadCount - 1` worker threads are started; the calling thread is the other one and
 * blocks in `run`. Resolves when all are ready. Memory is one shared arena, id 0, address space until touched; beyond 4 GiB it is made
 * of several memories, and no single allocation may be longer than one of these.
 * @throws KERNEL_MEMORY (size beyond 45 GiB, or the system refused), KERNEL_NOT_SUPPORTED, KERNEL_LOAD.
 */
export async function createWasmKernels(options: WasmKernelsOptions): Promise<KernelSet> {
  const { segmentBytes = MEMORY_BYTES_MAX, placement = "sized" } = options;
  checkSpanningOptions(options, segmentBytes);
  const { variant, module } = await loadModule(options.variant);
  const count = segmentCount(options.memoryBytes, segmentBytes);
  const memories = Array.from({ length: count }, () =>
    createMemory(count === 1 ? options.memoryBytes : segmentBytes),
  );
  const instances = instantiateEach(module, memories);
  const { startBytes, threadBytes, tokensBytes, heapBytes } = scratchLayout(options);
  for (const instance of instances)
    instance.initialise(options.threadCount, startBytes, threadBytes, tokensBytes);
  const workers = new WorkerPool(module, memories);
  await workers.start(options.threadCount - 1);
  const crew = { target: `wasm-${variant}`, memories, instances, workers };
  if (count === 1) return new WasmKernels(options, crew);
  const sizes = { segmentBytes, heapBytes, exchangeBytes: exchangeBytes(segmentBytes) };
  return new SpanningKernels(options, crew, sizes, placement);
}

function createMemory(memoryBytes: number): WebAssembly.Memory {
  const pages = Math.ceil(memoryBytes / PAGE_BYTES);
  const maximum = Math.min(pages, MODULE_PAGES_MAX);
  try {
    return new WebAssembly.Memory({ initial: pages, maximum, shared: true });
  } catch (error) {
    throw new FlashlmError(
      "KERNEL_MEMORY",
      `the system refused ${memoryBytes} bytes of kernel memory; ask for less`,
      { memoryBytes },
      error,
    );
  }
}

import type { KernelOp, MemoryHandle } from "@flashlm/contracts";
import { alignUp, assert } from "@flashlm/contracts";
import { OP_ELSEWHERE, SERIAL } from "../../../assembly/layout.js";
import { encodeOp } from "../encode.js";
import type { KernelExports } from "../imports.js";
import type { Runner } from "../runner.js";
import type { SegmentSizes, Segments } from "./segments.js";

const LINE_BYTES = 64;
/** Kept free for the words of the op and the few that it points at. */
const COMMAND_BYTES = 512;

/**
 * Scratch in every memory, and ops over it. One op at a time: it is opened in a memory, operands are reserved there, and it runs.
 * Handles that it gives and takes are offsets in that memory.
 */
export class Bench {
  readonly segments: Segments;
  /** Most bytes of operands that can be reserved at once, each counted in whole lines. */
  readonly roomBytes: number;
  readonly #startBytes: number;
  readonly #endBytes: number;
  readonly #instances: readonly KernelExports[];
  readonly #runner: Runner;
  /** One op of five words. */
  readonly #program: Uint32Array = Uint32Array.of(1, OP_ELSEWHERE, 5, 0, 0, 0, 0, 0, 0);
  #index = 0;
  #nextBytes = 0;

  constructor(segments: Segments, sizes: SegmentSizes, instances: readonly KernelExports[], runner: Runner) {
    this.segments = segments;
    this.#startBytes = alignUp(sizes.heapBytes, LINE_BYTES);
    this.#endBytes = this.#startBytes + sizes.exchangeBytes;
    this.roomBytes = sizes.exchangeBytes - COMMAND_BYTES;
    this.#instances = instances;
    this.#runner = runner;
  }

  /** Index of the memory that is open. */
  get index(): number {
    return this.#index;
  }

  /** Begins an op in a memory; what was reserved there before is forgotten. */
  open(index: number): void {
    this.#index = index;
    this.#nextBytes = this.#startBytes;
  }

  /** Bytes that can still be reserved. */
  get freeBytes(): number {
    return this.#startBytes + this.roomBytes - this.#nextBytes;
  }

  /** What is reserved so far, for {@link release}. */
  mark(): number {
    return this.#nextBytes;
  }

  /** Forgets what was reserved since. */
  release(mark: number): void {
    this.#nextBytes = mark;
  }

  /** Whole lines of scratch, with what was left in them. */
  reserve(lengthBytes: number): MemoryHandle {
    const offsetBytes = this.#nextBytes;
    this.#nextBytes += alignUp(lengthBytes, LINE_BYTES);
    assert(this.#nextBytes <= this.#endBytes, "operands were measured before they were reserved");
    return { arenaId: 0, offsetBytes };
  }

  /** A list of `count` u32 in scratch, to be filled. */
  list(count: number): { readonly handle: MemoryHandle; readonly words: Uint32Array } {
    const handle = this.reserve(count * 4);
    const first = handle.offsetBytes / 4;
    return { handle, words: this.segments.words[this.#index]!.subarray(first, first + count) };
  }

  /** A word in scratch. */
  word(value: number): MemoryHandle {
    const { handle, words } = this.list(1);
    words[0] = value;
    return handle;
  }

  /** Bytes of the arena in the open memory: where they are, or a copy in scratch. */
  bring(address: number, lengthBytes: number): MemoryHandle {
    if (this.segments.indexOf(address) === this.#index) return this.handleOf(address);
    const place = this.reserve(lengthBytes);
    const row = { pitchBytes: lengthBytes };
    this.segments.copy({ address: this.addressOf(place), ...row }, { address, ...row }, lengthBytes, 1);
    return place;
  }

  /** Address in the arena of an offset in the memory that is open. */
  addressOf({ offsetBytes }: MemoryHandle): number {
    return this.#index * this.segments.segmentBytes + offsetBytes;
  }

  /** Offset of an address that lies in the memory that is open. */
  handleOf(address: number): MemoryHandle {
    return { arenaId: 0, offsetBytes: this.segments.localOf(address) };
  }

  /** Runs an op whose handles are offsets in the open memory; its own token count word is not read. @throws KERNEL_SHAPE. */
  run(op: KernelOp, tokenCount: number): void {
    const { code, words } = encodeOp(op);
    const command = this.list(words.length);
    command.words.set(words);
    const { offsetBytes } = command.handle;
    const unitCount = this.#instances[this.#index]!.unitsOf(code, offsetBytes, tokenCount);
    if (unitCount <= 0) return;
    // Threads keep what they rounded or scaled for as long as the serial is the same; only that of the first memory changes by itself.
    if (this.#index > 0) this.segments.words[this.#index]![SERIAL / 4]!++;
    this.#program.set([this.#index, code, unitCount, offsetBytes, tokenCount], 4);
    this.#runner.run(this.#program, true);
  }
}

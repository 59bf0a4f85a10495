import {
  ADDRESS_UNIT_BYTES,
  alignUp,
  type BundleTensor,
  FlashlmError,
  type FlashReader,
  type KernelSet,
  type MemoryHandle,
  type PendingReads,
  ReadBatch,
  type WeightRef,
} from "@flashlm/contracts";
import type { BlockExtent } from "./blocks.js";
import { BLOCK_ALIGNMENT_BYTES } from "./blocks.js";
import { TensorVerifier } from "./checksum.js";
import { abandon, pieceCount, submitExtent } from "./read-into.js";

interface Block {
  readonly extent: BlockExtent;
  readonly addressWord: MemoryHandle;
  readonly address: Uint32Array;
  readonly resident: boolean;
  verified: boolean;
  /** Buffer that a streamed block in use is in, or -1. */
  bufferIndex: number;
}

interface Flight {
  readonly block: Block;
  readonly bufferIndex: number;
  readonly pending: PendingReads;
}

/** Memory of a {@link Residency}. Bytes. */
export interface ResidencySizes {
  /** Of each buffer that streamed blocks pass through. */
  readonly bufferBytes: number;
  readonly bufferCount: number;
  /** The largest block that will be added. */
  readonly largestBlockBytes: number;
  /** Throws when the caller wants the work to stop; called for every piece that is waited for. */
  readonly checkAbort: () => void;
}

/**
 * Weights other than neuron records: pinned ones stay where they were loaded, the others pass through a ring of buffers
 * in the order in which the layers visit them, read ahead as far as buffers are free.
 */
export class Residency {
  readonly #reader: FlashReader;
  readonly #kernels: KernelSet;
  readonly #verifier: TensorVerifier;
  readonly #blocks = new Map<string, Block>();
  readonly #buffers: MemoryHandle[] = [];
  /** Indices of buffers that hold nothing: blocks are not given up in the order in which they came. */
  #freeBuffers: number[] = [];
  readonly #batch: ReadBatch;
  readonly #checkAbort: () => void;
  readonly #order: Block[] = [];
  readonly #streamed: Block[] = [];
  #flights: Flight[] = [];
  #nextStreamed = 0;
  /** Milliseconds spent waiting for blocks. */
  waitMs = 0;

  constructor(
    reader: FlashReader,
    kernels: KernelSet,
    { bufferBytes, bufferCount, largestBlockBytes, checkAbort }: ResidencySizes,
  ) {
    this.#reader = reader;
    this.#kernels = kernels;
    this.#verifier = new TensorVerifier(kernels);
    this.#checkAbort = checkAbort;
    this.#batch = new ReadBatch(pieceCount(Math.max(largestBlockBytes, bufferBytes)) + 1);
    for (let index = 0; index < bufferCount; index++)
      this.#buffers.push(kernels.memory.allocate(bufferBytes, BLOCK_ALIGNMENT_BYTES));
    this.#freeBuffers = [...this.#buffers.keys()];
  }

  /** Registers a block under a name; a resident one is loaded now. */
  async add(name: string, extent: BlockExtent, resident: boolean): Promise<void> {
    const addressWord = this.#kernels.memory.allocate(16, 16);
    const block: Block = {
      extent,
      addressWord,
      address: this.#kernels.memory.words(addressWord, 1),
      resident,
      verified: false,
      bufferIndex: -1,
    };
    this.#blocks.set(name, block);
    this.#order.push(block);
    if (!resident) {
      this.#streamed.push(block);
      return;
    }
    const target = this.#kernels.memory.allocate(
      alignUp(extent.lengthBytes, BLOCK_ALIGNMENT_BYTES),
      BLOCK_ALIGNMENT_BYTES,
    );
    submitExtent(this.#reader, this.#batch, extent, target).waitAll();
    await this.#settle(block, target);
  }

  /** Reference to a tensor of a block, wherever the block is when a program runs. */
  weight(name: string, tensor: BundleTensor): WeightRef {
    const block = this.#blocks.get(name);
    if (!block)
      throw new FlashlmError(
        "ENGINE_CONTRACT",
        `Expected block ${name} to be registered before tensor ${tensor.name}.`,
      );
    return {
      dtype: tensor.dtype,
      rowCount: tensor.rowCount,
      columnCount: tensor.columnCount,
      base: { addressWord: block.addressWord, offsetBytes: tensor.offsetBytes - block.extent.offsetBytes },
    };
  }

  /** Address of a tensor of a block that is in memory, in units of ADDRESS_UNIT_BYTES. */
  address(name: string, tensor: BundleTensor): number {
    const block = this.#blocks.get(name)!;
    return block.address[0]! + (tensor.offsetBytes - block.extent.offsetBytes) / ADDRESS_UNIT_BYTES;
  }

  /**
   * Tells that blocks are asked for from the named one on. What was read ahead of others is given up; mostly there is nothing to give up,
   * because the ring goes on from the last block to the first.
   */
  startAt(name: string): void {
    const first = this.#order.indexOf(this.#blocks.get(name)!);
    const block = this.#order.slice(first).find(({ resident }) => !resident) ?? this.#streamed[0];
    if (block === undefined || (this.#flights[0]?.block ?? this.#streamed[this.#nextStreamed]) === block)
      return;
    for (const flight of this.#flights) {
      abandon(flight.pending);
      this.#freeBuffers.push(flight.bufferIndex);
    }
    this.#flights = [];
    this.#nextStreamed = this.#streamed.indexOf(block);
  }

  /** Starts reading the next streamed blocks as far as buffers are free. Never blocks. */
  pump(): void {
    while (this.#streamed.length > 0 && this.#freeBuffers.length > 0) {
      const block = this.#streamed[this.#nextStreamed]!;
      const bufferIndex = this.#freeBuffers.shift()!;
      const target = this.#buffers[bufferIndex]!;
      const pending = submitExtent(this.#reader, this.#batch, block.extent, target);
      this.#flights.push({ block, bufferIndex, pending });
      this.#nextStreamed = (this.#nextStreamed + 1) % this.#streamed.length;
    }
  }

  /** Blocks until the named block is in memory. Blocks must be asked for in the order in which they were added, from {@link startAt} on. */
  async need(name: string): Promise<void> {
    const block = this.#blocks.get(name);
    if (!block || block.resident) return;
    this.pump();
    const flight = this.#flights[0];
    if (flight?.block !== block)
      throw new FlashlmError("ENGINE_CONTRACT", `Expected streamed block ${name} next.`);
    const start = performance.now();
    do this.#checkAbort();
    while (flight.pending.waitNext() >= 0);
    this.waitMs += performance.now() - start;
    // Until now a failure would have left it among those that are given up.
    this.#flights.shift();
    block.bufferIndex = flight.bufferIndex;
    await this.#settle(block, this.#buffers[flight.bufferIndex]!);
  }

  /** The named block will not be used again for this token: its buffer is free. */
  done(name: string): void {
    const block = this.#blocks.get(name);
    if (!block || block.resident || block.bufferIndex < 0) return;
    this.#freeBuffers.push(block.bufferIndex);
    block.bufferIndex = -1;
    this.pump();
  }

  /** Forgets reads ahead, after an abort or an error, so that the next token starts at the first block. */
  reset(): void {
    for (const flight of this.#flights) abandon(flight.pending);
    this.#flights = [];
    for (const block of this.#streamed) block.bufferIndex = -1;
    this.#freeBuffers = [...this.#buffers.keys()];
    this.#nextStreamed = 0;
  }

  async #settle(block: Block, base: MemoryHandle): Promise<void> {
    block.address[0] = base.offsetBytes / ADDRESS_UNIT_BYTES;
    if (block.verified) return;
    for (const tensor of block.extent.tensors) {
      await this.#verifier.verify(tensor, base.offsetBytes + tensor.offsetBytes - block.extent.offsetBytes);
    }
    block.verified = true;
  }
}

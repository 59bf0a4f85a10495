import { ADDRESS_UNIT_BYTES, alignUp, type KernelOp, type MemoryHandle, rowBytes } from "@flashlm/contracts";
import type { Bench } from "./bench.js";
import { addressOf } from "./jobs.js";
import { LIST_LENGTH_MAX } from "./records.js";
import type { Segments } from "./segments.js";

type Down = Extract<KernelOp, { op: "ffnDown" }>;

const LINE_BYTES = 64;
const SLACK_BYTES = 16 * LINE_BYTES;

/** A call's tokens and what its positions have in common. */
interface Call {
  readonly op: Down;
  readonly firstToken: number;
  readonly tokenCount: number;
  readonly addresses: Uint32Array;
  /** Bit patterns of the tokens' activations. */
  readonly factors: Uint32Array;
  /** Down vector within a record, and within the piece of it that is used. */
  readonly partBytes: number;
  readonly skewBytes: number;
  readonly pieceBytes: number;
}

/**
 * The down projection of records that lie in several memories. It runs where most of them are; the others' down vectors are brought
 * there, some at a time. Positions stay in ascending order, and those that no token uses are left out, as the kernels do.
 */
export class DownProjection {
  readonly #bench: Bench;
  readonly #segments: Segments;
  /** Positions that are added next. */
  readonly #positions: Uint32Array = new Uint32Array(LIST_LENGTH_MAX);
  readonly #counts: Uint32Array;

  constructor(bench: Bench) {
    this.#bench = bench;
    this.#segments = bench.segments;
    this.#counts = new Uint32Array(bench.segments.bytes.length);
  }

  /** Adds all positions, then the bias. @throws KERNEL_SHAPE. */
  run(op: Down, tokenCount: number): void {
    const { hiddenSize } = op.layout;
    const down = op.layout.parts.find(({ part }) => part === "down")!;
    const skewBytes = down.offsetBytes % ADDRESS_UNIT_BYTES;
    const lengthBytes = skewBytes + rowBytes(down.dtype, hiddenSize);
    const shape = {
      partBytes: down.offsetBytes - skewBytes,
      skewBytes,
      pieceBytes: alignUp(lengthBytes, ADDRESS_UNIT_BYTES),
    };
    const tokensAtOnce = Math.max(1, Math.floor(this.#bench.roomBytes / 4 / (hiddenSize * 4)));
    for (let firstToken = 0; firstToken < tokenCount; firstToken += tokensAtOnce) {
      const count = Math.min(tokensAtOnce, tokenCount - firstToken);
      const addresses = this.#segments.list(op.addresses.offsetBytes);
      const begin = op.activation.offsetBytes + firstToken * op.activationStride * 4;
      const factors = this.#segments.list(begin);
      this.#runTokens({ op, firstToken, tokenCount: count, addresses, factors, ...shape });
    }
  }

  #runTokens(call: Call): void {
    const bench = this.#bench;
    const { op, firstToken, tokenCount } = call;
    const positionCount = this.#segments.word(op.positionCount.offsetBytes);
    bench.open(this.#majority(call, positionCount));
    const lengthBytes = tokenCount * op.layout.hiddenSize * 4;
    const address = op.target.offsetBytes + firstToken * op.layout.hiddenSize * 4;
    this.#segments.check(address, lengthBytes);
    const target = bench.bring(address, lengthBytes);
    const bias = op.bias && bench.bring(addressOf(this.#segments, op.bias), op.layout.hiddenSize * 4);
    const mark = bench.mark();
    for (let position = 0; position < positionCount; ) {
      const { end, count } = this.#collect(call, position, positionCount);
      if (count > 0) this.#runPiece(call, count, target);
      bench.release(mark);
      position = end;
    }
    if (bias) this.#runPiece(call, 0, target, bias);
    const from = { address: bench.addressOf(target), pitchBytes: lengthBytes };
    if (from.address !== address)
      this.#segments.copy({ address, pitchBytes: lengthBytes }, from, lengthBytes, 1);
  }

  /** Index of the memory that most used records lie in. */
  #majority(call: Call, positionCount: number): number {
    const counts = this.#counts.fill(0);
    const { strideBytes } = call.op.layout;
    for (let position = 0; position < positionCount; position++)
      if (isUsed(call, position))
        counts[this.#segments.recordIndex(call.addresses[position]!, strideBytes)]!++;
    return counts.reduce((best, count, index) => (count > counts[best]! ? index : best), 0);
  }

  /** Used positions from `first` on that the bench has room for; at least one. */
  #collect(
    call: Call,
    first: number,
    positionCount: number,
  ): { readonly end: number; readonly count: number } {
    const roomBytes = this.#bench.freeBytes - SLACK_BYTES;
    const { index } = this.#bench;
    const { segmentUnits } = this.#segments;
    const copyBytes = alignUp(call.pieceBytes, LINE_BYTES);
    const positions = this.#positions;
    let count = 0;
    let usedBytes = 0;
    let position = first;
    for (; position < positionCount && count < LIST_LENGTH_MAX; position++) {
      if (!isUsed(call, position)) continue;
      const isHere = Math.floor(call.addresses[position]! / segmentUnits) === index;
      usedBytes += 4 + 4 * call.tokenCount + (isHere ? 0 : copyBytes);
      if (usedBytes > roomBytes && count > 0) break;
      positions[count++] = position;
    }
    return { end: position, count };
  }

  #runPiece(call: Call, count: number, target: MemoryHandle, bias?: MemoryHandle): void {
    const bench = this.#bench;
    const { op, tokenCount } = call;
    const addresses = this.#localAddresses(call, count);
    const activation = bench.list(tokenCount * count);
    for (let token = 0; token < tokenCount; token++) {
      const row = token * op.activationStride;
      for (let i = 0; i < count; i++)
        activation.words[token * count + i] = call.factors[row + this.#positions[i]!]!;
    }
    const down = op.layout.parts.find(({ part }) => part === "down")!;
    const { bias: _, ...rest } = op;
    bench.run(
      {
        ...rest,
        layout: {
          ...op.layout,
          strideBytes: call.pieceBytes,
          parts: [{ ...down, offsetBytes: call.skewBytes }],
        },
        addresses,
        positionCount: bench.word(count),
        activation: activation.handle,
        activationStride: count,
        target,
        ...(bias ? { bias } : {}),
      },
      tokenCount,
    );
  }

  /** Where the down vectors are in the open memory, those of other memories after copying them there. */
  #localAddresses(call: Call, count: number): MemoryHandle {
    const bench = this.#bench;
    const { segmentUnits } = this.#segments;
    const { handle, words } = bench.list(count);
    const firstUnit = bench.index * segmentUnits - call.partBytes / ADDRESS_UNIT_BYTES;
    for (let i = 0; i < count; i++) {
      const unit = call.addresses[this.#positions[i]!]!;
      words[i] =
        Math.floor(unit / segmentUnits) === bench.index
          ? unit - firstUnit
          : bench.bring(unit * ADDRESS_UNIT_BYTES + call.partBytes, call.pieceBytes).offsetBytes /
            ADDRESS_UNIT_BYTES;
    }
    return handle;
  }
}

/** Whether any token has use for a position. */
function isUsed({ op, tokenCount, factors }: Call, position: number): boolean {
  for (let token = 0; token < tokenCount; token++)
    // Without the sign: zeros of either are left out.
    if (factors[token * op.activationStride + position]! << 1 !== 0) return true;
  return false;
}

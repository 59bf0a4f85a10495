import type { KernelOp } from "@flashlm/contracts";
import type { Bench } from "./bench.js";
import { addressOf } from "./jobs.js";
import type { Segments } from "./segments.js";

type OpOf<Name extends KernelOp["op"]> = Extract<KernelOp, { op: Name }>;

/** What says which records an op is about. */
type Listed = Pick<OpOf<"crc32c">, "addresses" | "order" | "orderBegin" | "orderEnd">;

/** Records of a list that are brought into one op. */
export const LIST_LENGTH_MAX = 4096;
const LINE_BYTES = 64;
/** Lines that lists and operands may leave partly unused. */
const SLACK_BYTES = 16 * LINE_BYTES;

/** Ops over lists of records that lie in several memories: what is independent is done memory by memory. */
export class RecordLists {
  readonly #bench: Bench;
  readonly #segments: Segments;
  /** Places in the list of what is done next. */
  readonly #places: Uint32Array = new Uint32Array(LIST_LENGTH_MAX);
  /** Records of a call in each memory. */
  readonly #counts: Uint32Array;

  constructor(bench: Bench) {
    this.#bench = bench;
    this.#segments = bench.segments;
    this.#counts = new Uint32Array(bench.segments.bytes.length);
  }

  /** Checksums of each memory's records, in it. */
  checksums(op: OpOf<"crc32c">): void {
    const segments = this.#segments;
    const checksums = segments.list(op.checksums.offsetBytes);
    const lengthMax = Math.floor((this.#bench.roomBytes - SLACK_BYTES) / 12);
    this.#eachMemory(op, op.lengthBytes, lengthMax, (count) => {
      const bench = this.#bench;
      const results = bench.list(count);
      const lists = this.#lists(op, count);
      bench.run({ ...op, ...lists, checksums: results.handle }, 1);
      for (let i = 0; i < count; i++) checksums[this.#places[i]!] = results.words[i]!;
    });
  }

  /** Activations of each memory's records, in it. */
  activations(op: OpOf<"ffnActivations">, tokenCount: number): void {
    const bench = this.#bench;
    const sourceBytes = op.layout.hiddenSize * 4;
    const tokensAtOnce = Math.max(1, Math.min(tokenCount, Math.floor(bench.roomBytes / 2 / sourceBytes)));
    for (let first = 0; first < tokenCount; first += tokensAtOnce)
      this.#activateTokens(op, first, Math.min(tokensAtOnce, tokenCount - first));
  }

  #activateTokens(op: OpOf<"ffnActivations">, firstToken: number, tokenCount: number): void {
    const segments = this.#segments;
    const bench = this.#bench;
    const { hiddenSize, strideBytes } = op.layout;
    const order = segments.list(op.order.offsetBytes);
    // Per record: its address, its number, two biases; per token of it a result and a byte of the mask.
    const roomBytes = bench.roomBytes - SLACK_BYTES - tokenCount * hiddenSize * 4;
    const lengthMax = Math.floor(roomBytes / (16 + 5 * tokenCount));
    const source = op.source.offsetBytes + firstToken * hiddenSize * 4;
    segments.check(source, tokenCount * hiddenSize * 4);
    this.#eachMemory(op, strideBytes, lengthMax, (count) => {
      const lists = this.#lists(op, count);
      for (let i = 0; i < count; i++) this.#places[i] = order[this.#places[i]!]!;
      const activation = bench.reserve(tokenCount * count * 4);
      bench.run(
        {
          ...op,
          ...lists,
          ids: lists.order,
          source: bench.bring(source, tokenCount * hiddenSize * 4),
          activation,
          activationStride: count,
          ...this.#perNeuron(op, count, firstToken, tokenCount),
        },
        tokenCount,
      );
      const target = segments.indexOf(op.activation.offsetBytes);
      const first = segments.localOf(op.activation.offsetBytes) / 4 + firstToken * op.activationStride;
      const floats = segments.floats[target]!;
      const results = segments.floats[bench.index]!.subarray(activation.offsetBytes / 4);
      for (let token = 0; token < tokenCount; token++) {
        const row = first + token * op.activationStride;
        for (let i = 0; i < count; i++) floats[row + this.#places[i]!] = results[token * count + i]!;
      }
    });
  }

  /** Mask and biases of the listed positions, in their order. */
  #perNeuron(
    op: OpOf<"ffnActivations">,
    count: number,
    firstToken: number,
    tokenCount: number,
  ): Partial<Pick<OpOf<"ffnActivations">, "mask" | "gateBias" | "upBias">> {
    const segments = this.#segments;
    const bench = this.#bench;
    const ids = segments.list(op.ids.offsetBytes);
    const bias = (name: "gateBias" | "upBias"): object => {
      const base = op[name];
      if (base === undefined) return {};
      const values = segments.list(addressOf(segments, base));
      const { handle, words } = bench.list(count);
      for (let i = 0; i < count; i++) words[i] = values[ids[this.#places[i]!]!]!;
      return { [name]: handle };
    };
    if (op.mask === undefined) return { ...bias("gateBias"), ...bias("upBias") };
    const base = bench.reserve(tokenCount * count);
    const { offsetBytes } = op.mask.base;
    const from = segments.bytes[segments.indexOf(offsetBytes)]!;
    const to = segments.bytes[bench.index]!;
    for (let token = 0; token < tokenCount; token++) {
      const row = segments.localOf(offsetBytes) + (firstToken + token) * op.mask.stride;
      for (let i = 0; i < count; i++)
        to[base.offsetBytes + token * count + i] = from[row + ids[this.#places[i]!]!]!;
    }
    return { mask: { base, stride: count }, ...bias("gateBias"), ...bias("upBias") };
  }

  /** Calls `run` for the listed records of each memory, at most `lengthMax` at a time, with the bench open there. */
  #eachMemory(listed: Listed, lengthBytes: number, lengthMax: number, run: (count: number) => void): void {
    const segments = this.#segments;
    const [order, addresses] = [
      segments.list(listed.order.offsetBytes),
      segments.list(listed.addresses.offsetBytes),
    ];
    const begin = segments.word(listed.orderBegin.offsetBytes);
    const end = segments.word(listed.orderEnd.offsetBytes);
    const most = Math.max(1, Math.min(LIST_LENGTH_MAX, lengthMax));
    const counts = this.#counts.fill(0);
    for (let place = begin; place < end; place++)
      counts[segments.recordIndex(addresses[order[place]!]!, lengthBytes)]!++;
    const places = this.#places;
    for (let index = 0; index < counts.length; index++) {
      const isWhole = counts[index] === end - begin;
      let count = 0;
      for (let place = begin, left = counts[index]!; left > 0; place++) {
        const isHere = isWhole || Math.floor(addresses[order[place]!]! / segments.segmentUnits) === index;
        if (!isHere) continue;
        left--;
        places[count++] = place;
        if (count < most && left > 0) continue;
        this.#bench.open(index);
        run(count);
        count = 0;
      }
    }
  }

  /** The listed records, numbered from 0, as the kernels take them. */
  #lists(listed: Listed, count: number): Listed {
    const bench = this.#bench;
    const [local, numbers] = [bench.list(count), bench.list(count)];
    const order = this.#segments.list(listed.order.offsetBytes);
    const addresses = this.#segments.list(listed.addresses.offsetBytes);
    const firstUnit = bench.index * this.#segments.segmentUnits;
    for (let i = 0; i < count; i++) {
      local.words[i] = addresses[order[this.#places[i]!]!]! - firstUnit;
      numbers.words[i] = i;
    }
    const range = { orderBegin: bench.word(0), orderEnd: bench.word(count) };
    return { addresses: local.handle, order: numbers.handle, ...range };
  }
}

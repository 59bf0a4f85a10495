import type { LayerCost } from "./layer-cost.js";

/** Blocks that pass through the ring of buffers in a token: those of the layers, then the head's tiles. */
export interface RingCost {
  readonly bufferCount: number;
  /** The device's own time for each tile, and the time to compute with it; one tile that takes the device nothing where the head is resident. */
  readonly tileCount: number;
  readonly tileIoMs: number;
  readonly tileMs: number;
}

/** Tokens until the ring and the device are in a steady state: what is read ahead reaches from one token into the next. */
const WARM_TOKENS = 2;

/** The engine's clock beside that of a device that serves one batch after the other. Milliseconds. */
class Clock {
  now = 0;
  waitedMs = 0;
  #deviceFreeMs = 0;

  compute(durationMs: number): void {
    this.now += durationMs;
  }

  /** Begins a batch, behind those that are under way; when it has landed. */
  read(durationMs: number): number {
    this.#deviceFreeMs = Math.max(this.now, this.#deviceFreeMs) + durationMs;
    return this.#deviceFreeMs;
  }

  waitFor(landsMs: number): void {
    this.waitedMs += Math.max(0, landsMs - this.now);
    this.now = Math.max(this.now, landsMs);
  }
}

/** Streamed blocks in the order in which they are needed, read ahead as far as buffers are free (`Residency`). */
class Ring {
  readonly #clock: Clock;
  readonly #ioMs: readonly number[];
  readonly #landsMs: number[] = [];
  #freeCount: number;
  #next = 0;

  constructor(clock: Clock, ioMs: readonly number[], bufferCount: number) {
    this.#clock = clock;
    this.#ioMs = ioMs;
    this.#freeCount = bufferCount;
  }

  pump(): void {
    for (; this.#freeCount > 0 && this.#ioMs.length > 0; this.#freeCount--) {
      const ioMs = this.#ioMs[this.#next]!;
      this.#landsMs.push(this.#clock.read(ioMs));
      this.#next = (this.#next + 1) % this.#ioMs.length;
    }
  }

  need(): void {
    this.#clock.waitFor(this.#landsMs.shift()!);
  }

  done(): void {
    this.#freeCount++;
    this.pump();
  }
}

/** Milliseconds of a sparse run's token in which the engine has nothing to do but wait for reads: its steps played through, as `ForwardPass` has them. Pure. */
export function sparseWaitMs(layers: readonly LayerCost[], ring: RingCost): number {
  const clock = new Clock();
  const isHeadStreamed = ring.tileIoMs > 0;
  const tileIoMs = isHeadStreamed ? new Array<number>(ring.tileCount).fill(ring.tileIoMs) : [];
  const blockIoMs = layers
    .flatMap((layer) => [layer.attentionIoMs, layer.predictorIoMs])
    .filter((ioMs) => ioMs > 0);
  const blocks = new Ring(clock, [...blockIoMs, ...tileIoMs], ring.bufferCount);
  let before = 0;
  for (let token = 0; token <= WARM_TOKENS; token++) {
    before = clock.waitedMs;
    blocks.pump();
    playLayers(layers, clock, blocks);
    for (let tile = 0; tile < ring.tileCount; tile++) {
      if (isHeadStreamed) blocks.need();
      clock.compute(ring.tileMs);
      if (isHeadStreamed) blocks.done();
    }
  }
  return clock.waitedMs - before;
}

function playLayers(layers: readonly LayerCost[], clock: Clock, blocks: Ring): void {
  let earlyLandsMs = 0;
  for (const [layerIndex, layer] of layers.entries()) {
    if (layer.attentionIoMs > 0) blocks.need();
    clock.compute(layer.attendMs);
    if (layer.attentionIoMs > 0 && !layer.isAttentionKept) blocks.done();
    if (layer.predictorIoMs > 0) blocks.need();
    clock.compute(layer.scoreMs + layer.cacheMs);
    const lateLandsMs = clock.read(layer.lateIoMs);
    const ownLandsMs = earlyLandsMs;
    clock.compute(layer.guessMs);
    const next = layers[layerIndex + 1];
    if (next && next.earlyIoMs > 0) earlyLandsMs = clock.read(next.earlyIoMs);
    if (layer.predictorIoMs > 0) blocks.done();
    clock.compute(layer.hitMs);
    if (layer.earlyIoMs > 0) clock.waitFor(ownLandsMs);
    if (layer.lateIoMs > 0) clock.waitFor(lateLandsMs);
    clock.compute(layer.ffnMs - layer.hitMs);
    if (layer.attentionIoMs > 0 && layer.isAttentionKept) blocks.done();
  }
}

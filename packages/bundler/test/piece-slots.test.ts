import { describe, expect, test } from "vitest";
import { piecesInOrder } from "../src/synthetic/piece-order.js";
import { PIECE_BYTES, PieceSlots, sharePieces } from "../src/synthetic/piece-slots.js";

describe("slots of pieces", () => {
  test("give each piece out once, and a slot again once it is written", () => {
    const pieces = sharePieces(2);
    const filling = new PieceSlots(pieces);
    const writing = new PieceSlots(pieces);
    expect([filling.takePiece(), filling.takePiece(), writing.takePiece()]).toEqual([0, 1, 2]);
    expect([writing.takeWrite(), filling.takeWrite()]).toEqual([0, 1]);
    const first = filling.claimEmpty()!;
    const second = filling.claimEmpty()!;
    expect(second.slot).not.toBe(first.slot);
    expect([first.bytes.length, first.bytes.byteOffset % 4096]).toEqual([PIECE_BYTES, 0]);
    second.bytes.fill(8);
    filling.markFilled(second.slot, 1);
    const written = writing.claimFilled()!;
    expect([written.slot, written.piece]).toEqual([second.slot, 1]);
    expect([written.bytes[0], written.bytes.at(-1)]).toEqual([8, 8]);
    writing.markWritten(written.slot, 3 * 2 ** 20);
    expect(filling.writtenBytes).toBe(3 * 2 ** 20);
    expect(filling.claimEmpty()!.slot).toBe(second.slot);
    filling.markFilled(first.slot, 0);
    expect(writing.claimFilled()).toMatchObject({ slot: first.slot, piece: 0 });
  });

  test("a stop ends every wait", () => {
    const slots = new PieceSlots(sharePieces(1));
    expect(slots.claimEmpty()).not.toBeNull();
    slots.stop();
    expect(slots.claimFilled()).toBeNull();
    expect(slots.claimEmpty()).toBeNull();
  });
});

describe("the order of pieces", () => {
  const file = (sizeBytes: number, embeddingBytes = 0) => ({
    name: "",
    header: new Uint8Array(0),
    sizeBytes,
    tensors: [
      {
        recipe: { kind: "embedding", code: null as never, deviation: 1, lane: null } as const,
        dtype: "f16" as const,
        seed: 0,
        rowCount: 1,
        columnCount: 1,
        rowBytes: 2,
        offsetBytes: 0,
        lengthBytes: embeddingBytes,
      },
    ],
  });

  test("goes through the files, each beginning with a piece of its own", () => {
    expect(piecesInOrder([file(PIECE_BYTES + 5), file(0), file(PIECE_BYTES)])).toEqual([
      { fileIndex: 0, offsetBytes: 0, lengthBytes: PIECE_BYTES },
      { fileIndex: 0, offsetBytes: PIECE_BYTES, lengthBytes: 5 },
      { fileIndex: 2, offsetBytes: 0, lengthBytes: PIECE_BYTES },
    ]);
  });

  test("spreads pieces of an embedding and leaves none out", () => {
    const order = piecesInOrder([file(12 * PIECE_BYTES, 2 * PIECE_BYTES + 1)]);
    const numbers = order.map(({ offsetBytes }) => offsetBytes / PIECE_BYTES);
    expect([...numbers].sort((a, b) => a - b)).toEqual(Array.from({ length: 12 }, (_, index) => index));
    expect(numbers.flatMap((number, index) => (number < 3 ? [index] : []))).toEqual([3, 7, 11]);
  });
});

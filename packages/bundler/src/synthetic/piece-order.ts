import type { PlannedFile } from "./file-plan.js";
import { PIECE_BYTES } from "./piece-slots.js";

/** A piece's place. */
export interface PiecePlace {
  readonly fileIndex: number;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

/**
 * The pieces of files in the order in which they are filled: each file begins with a piece of its own. Rows of embeddings, which lie together and
 * take four times as long as others, are spread among them, so that the disk does not wait.
 */
export function piecesInOrder(files: readonly PlannedFile[]): PiecePlace[] {
  const pieces = files.flatMap(({ sizeBytes }, fileIndex) =>
    Array.from({ length: Math.ceil(sizeBytes / PIECE_BYTES) }, (_, piece): PiecePlace => {
      const offsetBytes = piece * PIECE_BYTES;
      return { fileIndex, offsetBytes, lengthBytes: Math.min(PIECE_BYTES, sizeBytes - offsetBytes) };
    }),
  );
  const slow = pieces.filter((piece) => hasEmbedding(files, piece));
  const fast = pieces.filter((piece) => !hasEmbedding(files, piece));
  return pieces.map((_, index) => {
    const slowBefore = Math.floor((index * slow.length) / pieces.length);
    const slowBehind = Math.floor(((index + 1) * slow.length) / pieces.length);
    return slowBehind > slowBefore ? slow[slowBefore]! : fast[index - slowBefore]!;
  });
}

function hasEmbedding(
  files: readonly PlannedFile[],
  { fileIndex, offsetBytes, lengthBytes }: PiecePlace,
): boolean {
  return files[fileIndex]!.tensors.some(
    (tensor) =>
      tensor.recipe.kind === "embedding" &&
      tensor.offsetBytes < offsetBytes + lengthBytes &&
      tensor.offsetBytes + tensor.lengthBytes > offsetBytes,
  );
}

import { workerData } from "node:worker_threads";
import { type FillJob, reportEnd } from "./fill-job.js";
import { PieceSlots } from "./piece-slots.js";
import { RangeFiller } from "./range-filler.js";

/** Fills pieces until none is left. */
function fillPieces({ files, order, pieces }: FillJob): void {
  const slots = new PieceSlots(pieces);
  const filler = new RangeFiller();
  for (let piece = slots.takePiece(); piece < order.length; piece = slots.takePiece()) {
    const claimed = slots.claimEmpty();
    if (claimed === null) return;
    const { fileIndex, offsetBytes } = order[piece]!;
    filler.fill(files[fileIndex]!, offsetBytes, claimed.bytes);
    slots.markFilled(claimed.slot, piece);
  }
}

reportEnd(() => fillPieces(workerData as FillJob));

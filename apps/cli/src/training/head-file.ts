import { readFileSync, renameSync, writeFileSync } from "node:fs";
import type { TrainedHead } from "@flashlm/predictor";

type Facts = Pick<TrainedHead, "rank" | "points" | "activeShare"> & {
  readonly settings: string;
  readonly lengths: readonly number[];
};

/** Keeps a finished head so that a run that is killed later does not train it again: a line of JSON, then the weights. */
export function saveHead(path: string, head: TrainedHead, settings: string): void {
  const { rank, points, activeShare, a, b, bias } = head;
  const parts = [a, b, new Uint8Array(bias.buffer, bias.byteOffset, bias.byteLength)];
  const facts: Facts = { rank, points, activeShare, settings, lengths: parts.map((part) => part.length) };
  writeFileSync(`${path}.new`, Buffer.concat([Buffer.from(`${JSON.stringify(facts)}\n`), ...parts]));
  renameSync(`${path}.new`, path);
}

/** A head that {@link saveHead} kept, or null where there is none of these settings. */
export function loadHead(path: string, settings: string): TrainedHead | null {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch {
    return null; // Not trained yet.
  }
  const end = bytes.indexOf(10);
  const { lengths, settings: found, ...facts } = JSON.parse(bytes.toString("utf8", 0, end)) as Facts;
  if (found !== settings) return null;
  let at = end + 1;
  const [a, b, bias] = lengths.map((lengthBytes) => {
    at += lengthBytes;
    return new Uint8Array(bytes.subarray(at - lengthBytes, at));
  });
  return { ...facts, a: a!, b: b!, bias: new Float32Array(bias!.buffer) };
}

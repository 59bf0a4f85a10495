import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** A person reads this much in an hour. */
export const DECODE_PATH_LINES_MAX = 900;
const HEADING = "## Reading the decode path";

/** Files that the section of ARCHITECTURE.md names, in its order: list items that begin with a linked path. */
export function decodePathFiles(architecture) {
  const start = architecture.indexOf(HEADING);
  if (start < 0) return [];
  const section = architecture.slice(start + HEADING.length).split(/^## /m)[0];
  return [...section.matchAll(/^\d+\. \[[^\]]*\]\(([^)#]+)\)/gm)].map((match) => match[1]);
}

/** Checks those files: they exist and together are short enough to read. */
export function checkDecodePath(root) {
  const files = decodePathFiles(readFileSync(join(root, "ARCHITECTURE.md"), "utf8"));
  const missing = files.filter((file) => !existsSync(join(root, file)));
  const present = files.filter((file) => !missing.includes(file));
  const lineCount = present.reduce(
    (sum, file) => sum + readFileSync(join(root, file), "utf8").trimEnd().split("\n").length,
    0,
  );
  return {
    ok: files.length > 0 && missing.length === 0 && lineCount < DECODE_PATH_LINES_MAX,
    files,
    missing,
    lineCount,
  };
}

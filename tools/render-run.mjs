import { readFileSync, writeFileSync } from "node:fs";

/** Draws a recorded run (text on standard input) as an SVG terminal: `node tools/render-run.mjs OUT.svg < run.txt`. */
const WIDTH_CHARS = 118;
const LINE_PX = 17;
const escapeXml = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

function wrap(line) {
  const rows = [];
  let rest = line;
  while (rest.length > WIDTH_CHARS) {
    const cut = rest.lastIndexOf(" ", WIDTH_CHARS);
    rows.push(rest.slice(0, cut > 0 ? cut : WIDTH_CHARS));
    rest = `${rest.slice(cut > 0 ? cut + 1 : WIDTH_CHARS)}`;
  }
  return [...rows, rest];
}

const lines = readFileSync(0, "utf8").trimEnd().split("\n").flatMap(wrap);
const height = lines.length * LINE_PX + 32;
const rows = lines.map(
  (line, index) => `<text x="16" y="${28 + index * LINE_PX}" xml:space="preserve">${escapeXml(line)}</text>`,
);
writeFileSync(
  process.argv[2],
  `<svg xmlns="http://www.w3.org/2000/svg" width="900" height="${height}" font-family="ui-monospace, Menlo, Consolas, monospace" font-size="12" fill="#d8dee9"><rect width="900" height="${height}" rx="8" fill="#1f2430"/>${rows.join("")}</svg>\n`,
);

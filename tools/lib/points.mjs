import { readdirSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { ROOT } from "./workspace.mjs";

const FOLDER = join(ROOT, "tools/prove");

/** Every `tools/prove/*.mjs` exports `points`: `{ name, title, heavy, run: async () => ({ ok, figure }) }`. */
export async function loadPoints() {
  const files = readdirSync(FOLDER)
    .filter((name) => name.endsWith(".mjs"))
    .sort();
  const modules = await Promise.all(files.map((name) => import(pathToFileURL(join(FOLDER, name)).href)));
  return modules.flatMap((module) => module.points);
}

/** Points of that name; else those below it ("foundation" takes "foundation.1"); "all" takes every one. */
export function selectPoints(points, wanted) {
  if (wanted === "all") return points;
  const exact = points.filter((point) => point.name === wanted);
  return exact.length > 0 ? exact : points.filter((point) => point.name.startsWith(`${wanted}.`));
}

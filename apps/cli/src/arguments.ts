import { existsSync } from "node:fs";

/** True when an argument names something on disk, or is written like a path to a model. */
export function looksLikeModel(argument: string): boolean {
  return existsSync(argument) || argument.endsWith(".gguf") || /^\.{0,2}\//.test(argument);
}

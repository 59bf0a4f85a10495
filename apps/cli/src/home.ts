import { mkdirSync } from "node:fs";
import { join } from "node:path";
import envPaths from "env-paths";

/** Folder for bundles made from checkpoints: `$FLASHLM_HOME`, or the platform's cache folder. Made if absent. */
export function flashlmHome(): string {
  const home = process.env.FLASHLM_HOME || envPaths("flashlm", { suffix: "" }).cache;
  mkdirSync(join(home, "bundles"), { recursive: true });
  return home;
}

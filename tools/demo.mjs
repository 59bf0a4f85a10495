import { join } from "node:path";
import { ensureWorkspaceOrExit } from "./bootstrap.mjs";
import { run } from "./lib/shell.mjs";
import { ROOT } from "./lib/workspace.mjs";

const PROMPT = "What is gravity? Answer in three sentences.";

await ensureWorkspaceOrExit();
const command = ["run", "--memory", "60%", "--max-tokens", "160", "--temperature", "0", PROMPT];
process.stderr.write(
  `$ flashlm ${command.map((word) => (word.includes(" ") ? `"${word}"` : word)).join(" ")}\n`,
);
const { code } = await run(process.execPath, [join(ROOT, "apps/cli/bin/flashlm.cjs"), ...command], {
  cwd: ROOT,
  inherit: true,
});
process.exitCode = code;

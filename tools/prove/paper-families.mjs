import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { countTests } from "../lib/counts.mjs";
import { hasShared } from "../lib/flashlm.mjs";
import { vitestReport } from "../lib/vitest-report.mjs";

/** Largest difference of each family, over targets, config forms, oracle and dense. */
function worstByFamily(path) {
  const worst = new Map();
  if (!existsSync(path)) return worst;
  for (const line of readFileSync(path, "utf8").split("\n").filter(Boolean)) {
    const { family, difference } = JSON.parse(line);
    worst.set(family, Math.max(worst.get(family) ?? 0, difference));
  }
  return worst;
}

async function familiesAgree() {
  if (!hasShared) return { ok: false, figure: "the reference outputs (../shared) are not here" };
  const folder = mkdtempSync(join(tmpdir(), "flashlm-families-"));
  const figures = join(folder, "differences.jsonl");
  try {
    const files = [
      "packages/runtime/test/families",
      "packages/runtime/test/gguf.test",
      "packages/bundler/test/sources",
    ];
    const { report, code } = await vitestReport(files, { FLASHLM_FIGURES: figures });
    const { passed, failed, skipped } = countTests(report, code);
    const worst = [...worstByFamily(figures)].sort((a, b) => b[1] - a[1]);
    const rows = worst.map(([family, difference]) => `${family} ${difference.toExponential(1)}`);
    return {
      ok: failed === 0 && skipped === 0 && worst.length >= 24,
      figure: `${worst.length} families, both config forms, every kernel target: ${passed} passed, ${failed} failed, ${skipped} skipped; largest logit difference from transformers: ${rows.join(", ")}`,
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Model families. */
export const points = [
  {
    name: "paper.1",
    title: "every dense family agrees with transformers, dense and with only active neurons computed",
    heavy: true,
    run: familiesAgree,
  },
];

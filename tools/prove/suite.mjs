import { readClosingLine } from "../lib/counts.mjs";
import { loadPoints } from "../lib/points.mjs";
import { run } from "../lib/shell.mjs";
import { ROOT } from "../lib/workspace.mjs";

/** All that a model larger than memory is promised for; each has a proof. */
const PROMISED = Array.from({ length: 8 }, (_, index) => `paper.${index + 1}`);
const MINUTES_MAX = 15;
/** A suite that goes on longer has failed already; stopping it a little later still tells by how much. */
const LIMIT_MS = (MINUTES_MAX + 5) * 60_000;

/** Promised names that the list has not exactly once. */
async function unproven() {
  const names = (await loadPoints()).map(({ name }) => name);
  return PROMISED.filter((wanted) => names.filter((name) => name === wanted).length !== 1);
}

/** A skipped test has shown nothing, so it counts against the suite. */
async function suiteIsQuick() {
  const { code, output, elapsedMs } = await run("npm", ["test"], { cwd: ROOT, limitMs: LIMIT_MS });
  const counts = readClosingLine(output);
  const minutes = elapsedMs / 60_000;
  const time = `npm test took ${minutes.toFixed(1)} minutes (under ${MINUTES_MAX})`;
  if (counts === undefined)
    return {
      ok: false,
      figure: `${time} and ended with ${code}, without its closing line:\n${output.slice(-1500)}`,
    };
  const { passed, failed, skipped } = counts;
  return {
    ok: code === 0 && passed > 0 && failed === 0 && skipped === 0 && minutes < MINUTES_MAX,
    figure: `${time}: ${passed} passed, ${failed} failed, ${skipped} skipped${failed > 0 ? `\n${output.slice(-3000)}` : ""}`,
  };
}

async function provenAndTested() {
  const missing = await unproven();
  const suite = await suiteIsQuick();
  const proofs =
    missing.length === 0
      ? `${PROMISED.length} of ${PROMISED.length} points have a proof`
      : `NO PROOF of ${missing.join(", ")}`;
  return { ok: missing.length === 0 && suite.ok, figure: `${proofs}; ${suite.figure}` };
}

/** That there are proofs, and that the tests stay quick enough to be run. */
export const points = [
  {
    name: "paper.7",
    title: `each of ${PROMISED[0]} to ${PROMISED.at(-1)} has a proof; npm test passes whole, in under ${MINUTES_MAX} minutes`,
    heavy: true,
    run: provenAndTested,
  },
];

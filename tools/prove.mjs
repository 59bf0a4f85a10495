import { ensureWorkspaceOrExit } from "./bootstrap.mjs";
import { loadPoints, selectPoints } from "./lib/points.mjs";

function list(points) {
  const width = Math.max(...points.map((point) => point.name.length));
  const rows = points.map(
    ({ name, title, heavy }) => `  ${name.padEnd(width)}  ${title}${heavy ? " (takes minutes)" : ""}`,
  );
  process.stdout.write(
    `Points that can be proven: npm run prove -- POINT, a prefix, or all\n\n${rows.join("\n")}\n`,
  );
}

async function prove(point) {
  process.stderr.write(`flashlm: proving ${point.name}: ${point.title} ...\n`);
  const startedMs = Date.now();
  try {
    return { ...(await point.run()), elapsedMs: Date.now() - startedMs };
  } catch (error) {
    return { ok: false, figure: String(error?.stack ?? error), elapsedMs: Date.now() - startedMs };
  }
}

const points = await loadPoints();
const wanted = process.argv[2];
if (wanted === undefined) {
  list(points);
} else {
  const chosen = selectPoints(points, wanted);
  if (chosen.length === 0) {
    list(points);
    process.stderr.write(`flashlm: no point is named ${wanted}\n`);
    process.exit(2);
  }
  await ensureWorkspaceOrExit();
  const lines = [];
  for (const point of chosen) {
    const { ok, figure, elapsedMs } = await prove(point);
    lines.push(
      `${ok ? "ok" : "FALLS SHORT"}  ${point.name}  ${figure}  (${(elapsedMs / 1000).toFixed(1)} s)`,
    );
    if (!ok) process.exitCode = 1;
  }
  process.stdout.write(`${lines.join("\n")}\n`);
}

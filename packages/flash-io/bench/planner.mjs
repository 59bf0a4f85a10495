// Planned reads against record by record: random selections of a layer's records, into cache slots in random order.
// Three ways take turns: one request per record, the planner's defaults, the planner with a profile that is measured first.
// usage: node bench/planner.mjs [--smoke] [--json] [--folder PATH] [--mib 512] [--pairs 7]   (UV_THREADPOOL_SIZE=32 for the portable reader)
import { mkdtempSync, rmSync } from "node:fs";
import { open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { measureDevice, openBestReader } from "@flashlm/flash-io";
import { createRandom, LayerReads, WAYS } from "./support/layer-reads.mjs";

const isSmoke = process.argv.includes("--smoke");
const option = (name, otherwise) =>
  process.argv.includes(name) ? process.argv[process.argv.indexOf(name) + 1] : otherwise;
const LAYER_BYTES = Number(option("--mib", isSmoke ? 32 : 512)) * 1024 * 1024;
const PAIRS = Number(option("--pairs", isSmoke ? 3 : 7));
const PROFILE_MS = isSmoke ? 1500 : 12_000;
/** A row stops early, after at least three rounds, once it has taken this. */
const ROW_MS = isSmoke ? 1500 : 8000;
/** The paper's sizes: SmolLM2 in q8_0 packed, OPT in 4 bits, OPT-6.7B in 16 bits, a gated 7B model in 16 bits. */
const RECORDS_BYTES = [1836, 6144, 16384, 24576];
const SHARES = [0.01, 0.03, 0.1, 0.3];
/** Planned reads count as slower when they took longer in three rounds out of four, and in the median by more than this. */
const NOISE = 1.03;

/** The word at offset 4i is a hash of i, so that every read can be checked. */
async function writeLayer(path) {
  const words = new Uint32Array(1024 * 1024);
  const file = await open(path, "w");
  for (let written = 0; written < LAYER_BYTES; written += words.byteLength) {
    for (let word = 0; word < words.length; word++)
      words[word] = Math.imul(written / 4 + word, 2654435761) >>> 0;
    await file.write(new Uint8Array(words.buffer));
  }
  await file.sync();
  await file.close();
}

function quantile(values, share) {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.round(share * (sorted.length - 1))];
}

/** Records in ascending order, each with the same chance. */
function select(random, recordCount, share) {
  const ids = [];
  for (let id = 0; id < recordCount; id++) if (random() < share) ids.push(id);
  return ids;
}

async function measureRow(layer, recordBytes, share, random) {
  const times = Object.fromEntries(WAYS.map((way) => [way, []]));
  let last = {};
  const startedMs = performance.now();
  for (let round = 0; round < PAIRS; round++) {
    if (round >= 3 && performance.now() - startedMs > ROW_MS) break;
    const ids = select(random, Math.floor(LAYER_BYTES / recordBytes), share);
    // Each way is first in turn: what follows another's reads may find the device in another state.
    for (let turn = 0; turn < WAYS.length; turn++) {
      const way = WAYS[(round + turn) % WAYS.length];
      const result = layer.run(way, ids, recordBytes, random);
      times[way].push(result.ms);
      last = { ...last, [way]: result };
    }
  }
  const gains = (way) => times.records.map((ms, round) => ms / times[way][round]);
  const wantedBytes = last.records.wantedBytes;
  return {
    recordBytes,
    share,
    rounds: times.records.length,
    recordsMs: quantile(times.records, 0.5),
    recordsSpread: [quantile(times.records, 0.25), quantile(times.records, 0.75)],
    ...Object.fromEntries(
      ["defaults", "profile"].map((way) => [
        way,
        {
          ms: quantile(times[way], 0.5),
          gain: quantile(gains(way), 0.5),
          gainSpread: [quantile(gains(way), 0.25), quantile(gains(way), 0.75)],
          requestShare: last[way].requestCount / last.records.requestCount,
          readShare: last[way].readBytes / wantedBytes,
          planShare: last[way].planMs / last[way].ms,
        },
      ]),
    ),
  };
}

const isSlower = ({ gain, gainSpread }) => gain < 1 / NOISE && gainSpread[1] < 1;

function rowLine(row) {
  const { profile, defaults } = row;
  return [
    (row.recordBytes / 1024).toFixed(1).padStart(6),
    `${(100 * row.share).toFixed(0)}%`.padStart(5),
    `${row.recordsMs.toFixed(1)} (${row.recordsSpread.map((ms) => ms.toFixed(1)).join("-")})`.padStart(22),
    `${profile.ms.toFixed(1)}`.padStart(9),
    `${profile.gain.toFixed(2)} (${profile.gainSpread.map((gain) => gain.toFixed(2)).join("-")})`.padStart(
      18,
    ),
    profile.requestShare.toFixed(2).padStart(9),
    profile.readShare.toFixed(2).padStart(7),
    `${(100 * profile.planShare).toFixed(1)}%`.padStart(6),
    `${defaults.gain.toFixed(2)} (${defaults.gainSpread.map((gain) => gain.toFixed(2)).join("-")})`.padStart(
      18,
    ),
    isSlower(profile) ? "  SLOWER" : "",
  ].join(" ");
}

const say = (text) => (process.argv.includes("--json") ? process.stderr : process.stdout).write(`${text}\n`);
const folder = mkdtempSync(join(option("--folder", tmpdir()), "flash-io-planner-"));
try {
  const path = join(folder, "layer.bin");
  await writeLayer(path);
  const profile = await measureDevice(path, { budgetMs: PROFILE_MS, depths: [1, 4, 16, 32] });
  const reader = await openBestReader([path]);
  const layer = new LayerReads(reader, profile, 0.32 * LAYER_BYTES);
  const { backend, directIo, alignmentBytes, inFlightMax } = reader.capabilities;
  say(
    `${backend} ${directIo ? "direct" : "buffered"}, alignment ${alignmentBytes}, ${inFlightMax} in flight; layer of ${LAYER_BYTES / 2 ** 20} MiB; gaps up to ${layer.gapBytesMax} B`,
  );
  say(
    "   KiB share   record by record, ms   planned              gain  requests  bytes   plan     gain, no profile",
  );
  const random = createRandom(11);
  const rows = [];
  for (const recordBytes of RECORDS_BYTES) {
    for (const share of SHARES) {
      rows.push(await measureRow(layer, recordBytes, share, random));
      say(rowLine(rows.at(-1)));
    }
  }
  const slower = rows.filter((row) => isSlower(row.profile));
  const gains = rows.map((row) => row.profile.gain);
  const mean = Math.exp(gains.reduce((sum, gain) => sum + Math.log(gain), 0) / gains.length);
  const figures = {
    slowerCount: slower.length,
    meanGain: mean,
    gains: [Math.min(...gains), Math.max(...gains)],
  };
  say(
    `planned reads are slower in ${slower.length} of ${rows.length} rows; ${mean.toFixed(2)} times as fast on the geometric mean, ${figures.gains.map((gain) => gain.toFixed(2)).join(" to ")} by row`,
  );
  if (process.argv.includes("--json")) {
    process.stdout.write(`${JSON.stringify({ backend, directIo, ...figures, rows, profile })}\n`);
  }
  await reader.close();
  process.exitCode = slower.length > 0 ? 1 : 0;
} finally {
  rmSync(folder, { recursive: true, force: true });
}

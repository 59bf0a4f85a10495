import { writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { type DeviceProfile, FlashlmError } from "@flashlm/contracts";
import { identifyDevice, type MeasureProgress, measureDevice } from "@flashlm/flash-io";
import { type Command, Option } from "commander";
import { describeProfile } from "../device-report.js";
import { loadDeviceProfile, saveDeviceProfile } from "../device-store.js";
import { profileSvg } from "../device-svg.js";
import { flashlmHome } from "../home.js";
import { realNumber, wholeNumber } from "../options.js";
import { createProgress } from "../progress.js";
import { DEVICE_READERS, readerFactory } from "../readers.js";

interface DeviceFlags {
  readonly backend: (typeof DEVICE_READERS)[number];
  readonly seconds?: number;
  readonly fileMib?: number;
  readonly saved?: boolean;
  readonly svg?: string;
  readonly json?: boolean;
}

const STOP_SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** Registers `flashlm device`. */
export function addDevice(program: Command): void {
  program
    .command("device")
    .description("measure how fast a disk is read, and keep the result: runs plan their reads by it")
    .argument(
      "[path]",
      "folder on the disk, or a large file, which is only read (default: where bundles are kept)",
    )
    .addOption(new Option("--backend <reader>", "how flash is read").choices(DEVICE_READERS).default("auto"))
    .option(
      "--seconds <count>",
      "about how long to measure (default: 24)",
      realNumber("--seconds", 0.1, 3600),
    )
    .option(
      "--file-mib <count>",
      "size of the temporary file (default: 1024, or what the disk has room for)",
      wholeNumber("--file-mib", 16, 1 << 20),
    )
    .option("--saved", "show what was measured before; measure nothing")
    .option("--svg <file>", "write a plot")
    .option("--json", "print the profile as JSON on stdout and nothing else")
    .action((path: string | undefined, flags: DeviceFlags) => device(path, flags));
}

async function device(argument: string | undefined, flags: DeviceFlags): Promise<void> {
  const path = resolve(argument ?? flashlmHome());
  const profile = flags.saved ? savedProfile(path, flags) : await measure(path, flags);
  if (flags.svg !== undefined) writePlot(flags.svg, profile);
  process.stdout.write(
    flags.json ? `${JSON.stringify(profile)}\n` : `${describeProfile(profile).join("\n")}\n`,
  );
}

async function measure(path: string, flags: DeviceFlags): Promise<DeviceProfile> {
  const stop = new AbortController();
  const onSignal = (): void => {
    process.exitCode = 130;
    stop.abort();
  };
  for (const signal of STOP_SIGNALS) process.once(signal, onSignal);
  const progress = createProgress();
  try {
    const profile = await measureDevice(path, {
      openReader: readerFactory(flags.backend),
      signal: stop.signal,
      onProgress: (event) => progress.update(labelOf(event), event.doneShare),
      ...(flags.seconds ? { budgetMs: flags.seconds * 1000 } : {}),
      ...(flags.fileMib ? { fileBytes: flags.fileMib * 2 ** 20 } : {}),
    });
    const savedAt = saveDeviceProfile(profile);
    progress.end();
    if (!flags.json) process.stderr.write(`saved as ${savedAt}\n`);
    return profile;
  } finally {
    progress.end();
    for (const signal of STOP_SIGNALS) process.off(signal, onSignal);
  }
}

function labelOf({ phase, cell }: MeasureProgress): string {
  if (phase === "file") return "writing a file to read";
  if (cell === undefined) return `measuring ${phase}`;
  return `measuring random reads of ${cell.chunkBytes / 1024} KiB, ${cell.depth} in flight`;
}

function savedProfile(path: string, flags: DeviceFlags): DeviceProfile {
  // Which backend auto stands for is known once a file is open; node reads anywhere.
  const backend = flags.backend === "auto" ? "node" : flags.backend;
  const profile = loadDeviceProfile(path, backend);
  if (profile !== null) return profile;
  const { deviceId, source } = identifyDevice(path);
  throw new FlashlmError(
    "FLASH_MEASURE",
    `Expected a saved profile of ${source || deviceId} through ${backend} but there is none. Measure with: flashlm device ${path}`,
    { path, backend, deviceId },
  );
}

function writePlot(path: string, profile: DeviceProfile): void {
  try {
    writeFileSync(path, profileSvg(profile));
  } catch (error) {
    throw new FlashlmError(
      "ENGINE_OPTION",
      `Expected to write --svg ${path} but ${error instanceof Error ? error.message : "it failed"}. Name a file in a folder that exists.`,
      { path },
      error,
    );
  }
}

import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  type DeviceIdentity,
  type DeviceProfile,
  FlashlmError,
  type FlashReader,
  parseDeviceProfile,
} from "@flashlm/contracts";
import { identifyDevice } from "@flashlm/flash-io";
import { flashlmHome } from "./home.js";

/** Where the profile of a device through a backend is kept: `$FLASHLM_HOME/devices/254-0-node.json`. */
export function deviceProfilePath(device: DeviceIdentity, backend: string): string {
  const name = `${device.deviceId}-${backend}`.replace(/[^A-Za-z0-9_]+/g, "-");
  return join(flashlmHome(), "devices", `${name}.json`);
}

/** Saves a profile; a crash leaves the one before. Returns its path. */
export function saveDeviceProfile(profile: DeviceProfile): string {
  const path = deviceProfilePath(profile.device, profile.backend);
  mkdirSync(join(flashlmHome(), "devices"), { recursive: true });
  const temporary = `${path}.${process.pid}`;
  try {
    writeFileSync(temporary, `${JSON.stringify(profile)}\n`, { flush: true });
    renameSync(temporary, path);
  } finally {
    rmSync(temporary, { force: true });
  }
  return path;
}

/**
 * The saved profile of the device that `path` lies on, or null: never measured, or another disk has the device's number now.
 * @throws FLASH_OPEN (nothing at `path`), FLASH_PROFILE_FORMAT, FLASH_PROFILE_VERSION.
 */
export function loadDeviceProfile(path: string, backend: string): DeviceProfile | null {
  const device = identifyDevice(path);
  const profilePath = deviceProfilePath(device, backend);
  let text: string;
  try {
    text = readFileSync(profilePath, "utf8");
  } catch {
    return null;
  }
  const profile = parseDeviceProfile(parseJson(text, profilePath));
  return profile.device.source === device.source && profile.backend === backend ? profile : null;
}

/** The profile that suits an open reader, or null. One that cannot be used is named on stderr, and the run goes on without. */
export function profileOfReader(reader: FlashReader): DeviceProfile | null {
  const path = reader.files.at(-1)?.path;
  if (path === undefined) return null;
  const { backend, directIo } = reader.capabilities;
  try {
    const profile = loadDeviceProfile(path, backend);
    return profile?.directIo === directIo ? profile : null;
  } catch (error) {
    if (!FlashlmError.isInstance(error)) throw error;
    process.stderr.write(`flashlm: the device profile is not used: ${error.message} [${error.code}]\n`);
    return null;
  }
}

function parseJson(text: string, path: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new FlashlmError(
      "FLASH_PROFILE_FORMAT",
      `Expected JSON in ${path} but ${error instanceof Error ? error.message : "it is none"}. Measure the device again.`,
      { path },
      error,
    );
  }
}

import { readFileSync, realpathSync, statSync } from "node:fs";
import { type DeviceIdentity, FlashlmError } from "@flashlm/contracts";

/** One line of /proc/self/mountinfo. */
interface Mount {
  readonly deviceId: string;
  readonly mountPath: string;
  readonly fileSystem: string;
  readonly source: string;
}

/**
 * Which device a file or folder lies on. Mount, source and file system are known on Linux only.
 * @throws FLASH_OPEN when there is nothing at `path`.
 */
export function identifyDevice(path: string): DeviceIdentity {
  let deviceNumber: bigint;
  let realPath: string;
  try {
    deviceNumber = statSync(path, { bigint: true }).dev;
    realPath = realpathSync(path);
  } catch (error) {
    const { message, code } = error as NodeJS.ErrnoException;
    throw new FlashlmError(
      "FLASH_OPEN",
      `expected a file or folder at ${path}, but ${message}; check the path and its permissions`,
      { path, errorCode: code },
      error,
    );
  }
  const deviceId = formatDeviceNumber(deviceNumber);
  const mounts = readMounts().filter(
    (mount) => mount.deviceId === deviceId && isWithin(realPath, mount.mountPath),
  );
  const nearest = mounts.reduce<Mount | undefined>(
    (best, mount) => (best === undefined || mount.mountPath.length >= best.mountPath.length ? mount : best),
    undefined,
  );
  return {
    deviceId,
    mountPath: nearest?.mountPath ?? "",
    source: nearest?.source ?? "",
    fileSystem: nearest?.fileSystem ?? "",
  };
}

/** "major:minor" of a `dev_t` as Linux packs it; elsewhere just as good a name. */
export function formatDeviceNumber(device: bigint): string {
  const major = ((device >> 8n) & 0xfffn) | ((device >> 32n) & ~0xfffn);
  const minor = (device & 0xffn) | ((device >> 12n) & 0xffffff00n);
  return `${major}:${minor}`;
}

function isWithin(path: string, folder: string): boolean {
  return folder === "/" || path === folder || path.startsWith(`${folder}/`);
}

function readMounts(): Mount[] {
  try {
    return parseMountInfo(readFileSync("/proc/self/mountinfo", "utf8"));
  } catch {
    return []; // Not Linux, or a sandbox without /proc: the device number alone has to do.
  }
}

/** Parses /proc/self/mountinfo (proc(5)): optional fields end with a dash; blanks in paths are octal. */
export function parseMountInfo(text: string): Mount[] {
  return text.split("\n").flatMap((line) => {
    const [left, right] = line.split(" - ");
    const [, , deviceId, , mountPath] = left?.split(" ") ?? [];
    const [fileSystem, source] = right?.split(" ") ?? [];
    if (deviceId === undefined || mountPath === undefined || fileSystem === undefined) return [];
    return [
      { deviceId, mountPath: unescapeBlanks(mountPath), fileSystem, source: unescapeBlanks(source ?? "") },
    ];
  });
}

function unescapeBlanks(field: string): string {
  return field.replace(/\\([0-7]{3})/g, (_match, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  );
}

import { getSystemErrorName } from "node:util";
import { FlashlmError } from "@flashlm/contracts";
import { OUTCOME_ABORTED, OUTCOME_SHORT } from "./shared-rings.js";

/** A read that did not land. */
export interface FailedRead {
  readonly readIndex: number;
  readonly path: string;
  readonly fileIndex: number;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly gotBytes: number;
  /** Negative number of the system, or 0. */
  readonly errno: number;
}

/** The error that `waitNext` throws for a read. */
export function readError(outcome: number, failed: FailedRead): FlashlmError {
  const { path, offsetBytes, lengthBytes, gotBytes, errno } = failed;
  const wanted = `${lengthBytes} bytes at ${offsetBytes} of ${path}`;
  if (outcome === OUTCOME_SHORT) {
    return new FlashlmError(
      "FLASH_SHORT_READ",
      `expected ${wanted}, but only ${gotBytes} came: the file was truncated after it was opened; restore it`,
      { ...failed },
    );
  }
  if (outcome === OUTCOME_ABORTED) {
    return new FlashlmError("FLASH_ABORTED", `the read of ${wanted} was cancelled before it started`, {
      ...failed,
    });
  }
  const errorCode = errno < 0 ? getSystemErrorName(errno) : "UNKNOWN";
  return new FlashlmError(
    "FLASH_IO",
    `expected ${wanted}, but the system refused the read (${errorCode}); check the device and the file`,
    { ...failed, errorCode },
  );
}

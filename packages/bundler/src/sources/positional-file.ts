import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { FlashlmError } from "@flashlm/contracts";

/** A file that is read at positions, synchronously. */
export class PositionalFile {
  /** As it was given. */
  readonly path: string;
  /** Size when it was opened. */
  readonly sizeBytes: number;
  #descriptor: number | null;

  private constructor(path: string, descriptor: number, sizeBytes: number) {
    this.path = path;
    this.#descriptor = descriptor;
    this.sizeBytes = sizeBytes;
  }

  /** @throws CHECKPOINT_NOT_FOUND where there is no regular file, FLASH_IO where it cannot be opened. */
  static open(path: string): PositionalFile {
    let descriptor: number;
    try {
      descriptor = openSync(path, "r");
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code ?? "unknown";
      const isMissing = code === "ENOENT" || code === "ENOTDIR";
      throw new FlashlmError(
        isMissing ? "CHECKPOINT_NOT_FOUND" : "FLASH_IO",
        `cannot open ${path} (${code}); check the path and its permissions`,
        { path, code },
        error,
      );
    }
    const status = fstatSync(descriptor);
    if (!status.isFile()) {
      closeSync(descriptor);
      throw new FlashlmError("CHECKPOINT_NOT_FOUND", `${path} is not a regular file`, { path });
    }
    return new PositionalFile(path, descriptor, status.size);
  }

  /**
   * Fills `target` from `positionBytes` on.
   * @throws CHECKPOINT_TRUNCATED where the file ends before, FLASH_IO, FLASH_CLOSED.
   */
  readInto(target: Uint8Array, positionBytes: number): void {
    if (this.#descriptor === null) {
      throw new FlashlmError("FLASH_CLOSED", `${this.path} was closed; open the checkpoint again`, {
        path: this.path,
      });
    }
    let done = 0;
    while (done < target.length) {
      let count: number;
      try {
        count = readSync(this.#descriptor, target, done, target.length - done, positionBytes + done);
      } catch (error) {
        throw new FlashlmError("FLASH_IO", `cannot read ${this.path}`, { path: this.path }, error);
      }
      if (count === 0) {
        throw new FlashlmError(
          "CHECKPOINT_TRUNCATED",
          `${this.path} ends at ${positionBytes + done} bytes, expected ${positionBytes + target.length}; download it again`,
          { path: this.path, wantedBytes: positionBytes + target.length, foundBytes: positionBytes + done },
        );
      }
      done += count;
    }
  }

  /** Idempotent. */
  close(): void {
    if (this.#descriptor !== null) closeSync(this.#descriptor);
    this.#descriptor = null;
  }
}

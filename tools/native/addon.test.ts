import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { ROOT } from "../tidy/repository.js";

interface Addon {
  readonly path: string | undefined;
  readonly origin: "package" | "built" | "none";
  readonly reason: string;
}
const { ensureAddon }: { ensureAddon(folder: string, options?: { onBuild: () => void }): Promise<Addon> } =
  await import(new URL("addon.mjs", import.meta.url).href);
const { platformName }: { platformName(): string } = await import(
  new URL("addon-spec.mjs", import.meta.url).href
);
const { findCompiler }: { findCompiler(): Promise<object | undefined> } = await import(
  new URL("compiler.mjs", import.meta.url).href
);

const SOURCE = `#include <node_api.h>
NAPI_MODULE_INIT() {
  napi_value value;
  napi_create_uint32(env, ANSWER, &value);
  napi_set_named_property(env, exports, "answer", value);
  return exports;
}
`;
let folder: string;

/** A package whose addon exports the number that it was compiled with. */
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "addon-"));
  mkdirSync(join(folder, "native"));
  writeFileSync(join(folder, "package.json"), JSON.stringify({ name: "@flashlm/example", version: "1.2.3" }));
  const source = { path: "native/answer.cc", flags: ["-DANSWER=42"], msvcFlags: ["/DANSWER=42"] };
  const elsewhere = { path: "native/none.cc", architectures: ["none"] };
  writeFileSync(
    join(folder, "native/addon.json"),
    JSON.stringify({ name: "example", sources: [source, elsewhere] }),
  );
  writeFileSync(join(folder, "native/answer.cc"), SOURCE);
  // Dereferenced, because the workspace links packages.
  const headers = join(ROOT, "packages/flash-io/node_modules/node-api-headers");
  cpSync(headers, join(folder, "node_modules/node-api-headers"), { recursive: true, dereference: true });
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true, force: true });
});

async function ensure(): Promise<Addon & { readonly builds: number }> {
  let builds = 0;
  const addon = await ensureAddon(folder, { onBuild: () => builds++ });
  return { ...addon, builds };
}

describe("native addons", () => {
  test("are built once from their sources, and again when those change", async () => {
    const hasCompiler = (await findCompiler()) !== undefined;
    const first = await ensure();
    if (!hasCompiler) {
      expect(first).toMatchObject({ origin: "none", reason: expect.stringContaining("no C++ compiler") });
      return;
    }
    expect(first).toMatchObject({ origin: "built", reason: "", builds: 1 });
    expect(createRequire(import.meta.url)(first.path!)).toMatchObject({ answer: 42 });
    expect(await ensure()).toMatchObject({ path: first.path, builds: 0 });
    writeFileSync(join(folder, "native/answer.cc"), SOURCE.replace("ANSWER", "ANSWER + 1"));
    const second = await ensure();
    expect(second.builds).toBe(1);
    expect(createRequire(import.meta.url)(second.path!)).toMatchObject({ answer: 43 });
    expect(readdirSync(join(folder, "build"))).toHaveLength(1);
  });

  test("that do not compile are a reason with a log, tried once per compiler", async () => {
    if ((await findCompiler()) === undefined) vi.stubEnv("CXX", process.execPath);
    writeFileSync(join(folder, "native/answer.cc"), "this is not C++");
    const first = await ensure();
    expect(first).toMatchObject({ path: undefined, origin: "none", builds: 1 });
    const log = /log: (.*)\)/.exec(first.reason)?.[1];
    expect(existsSync(log!)).toBe(true);
    expect(await ensure()).toMatchObject({ origin: "none", builds: 0 });
  });

  test("need a compiler, and say which one was looked for", async () => {
    vi.stubEnv("CXX", "no-such-compiler");
    expect(await ensure()).toMatchObject({
      origin: "none",
      reason: expect.stringContaining("no-such-compiler"),
    });
  });

  test("can be switched off", async () => {
    vi.stubEnv("FLASHLM_NATIVE", "off");
    expect(await ensure()).toMatchObject({ origin: "none", reason: "FLASHLM_NATIVE=off", builds: 0 });
  });

  test("come ready-made from a package of the platform, if its version is the same", async () => {
    vi.stubEnv("CXX", "no-such-compiler");
    const ready = join(folder, "node_modules/@flashlm", `example-${platformName()}`);
    mkdirSync(ready, { recursive: true });
    writeFileSync(join(ready, "example.node"), "");
    writeFileSync(join(ready, "package.json"), JSON.stringify({ version: "1.2.3" }));
    expect(await ensure()).toMatchObject({ origin: "package", path: join(ready, "example.node") });
    writeFileSync(join(ready, "package.json"), JSON.stringify({ version: "1.2.4" }));
    expect(await ensure()).toMatchObject({ origin: "none" });
  });
});

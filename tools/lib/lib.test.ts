import { describe, expect, test } from "vitest";
// @ts-expect-error -- a plain script without declarations
import { checkDecodePath, decodePathFiles } from "./decode-path.mjs";
// @ts-expect-error -- a plain script without declarations
import { selectPoints } from "./points.mjs";
// @ts-expect-error -- a plain script without declarations
import { childEnvironment, run } from "./shell.mjs";
// @ts-expect-error -- a plain script without declarations
import { ROOT } from "./workspace.mjs";

describe("points", () => {
  const points = ["foundation.1", "foundation.10", "cache.1"].map((name) => ({ name }));
  test.each([
    ["all", ["foundation.1", "foundation.10", "cache.1"]],
    ["foundation", ["foundation.1", "foundation.10"]],
    ["foundation.1", ["foundation.1"]],
    ["found", []],
  ])("%s", (wanted, names) => {
    expect(selectPoints(points, wanted).map((point: { name: string }) => point.name)).toEqual(names);
  });
});

describe("decode path", () => {
  test("reads the numbered list of its section only", () => {
    const page =
      "## A\n\n1. [x](no.ts)\n\n## Reading the decode path\n\n1. [`a.ts`](src/a.ts): first\n2. [b](src/b.ts)\n\n## B\n\n1. [y](no.ts)\n";
    expect(decodePathFiles(page)).toEqual(["src/a.ts", "src/b.ts"]);
    expect(decodePathFiles("# nothing")).toEqual([]);
  });

  test("the page names files that exist and that are short enough together", () => {
    const { ok, missing, lineCount } = checkDecodePath(ROOT);
    expect({ missing, lineCount }).toMatchObject({ missing: [] });
    expect(ok, `${lineCount} lines`).toBe(true);
  });
});

describe("shell", () => {
  test("returns output and exit code", async () => {
    const { code, output } = await run(process.execPath, [
      "-e",
      "console.log('out'); console.error('err'); process.exit(3)",
    ]);
    expect(code).toBe(3);
    expect(output).toContain("out");
    expect(output).toContain("err");
  });

  test("a program that is not there, or that hangs, is a failure", async () => {
    expect((await run("no-such-program-anywhere", [])).code).not.toBe(0);
    const hung = await run(process.execPath, ["-e", "setInterval(() => {}, 1000)"], { limitMs: 300 });
    expect(hung.code).not.toBe(0);
    expect(hung.output).toContain("stopped after 0.3 s");
  });

  test("telemetry is off and an outer npm run does not leak in", () => {
    const environment = childEnvironment();
    expect(environment.TURBO_TELEMETRY_DISABLED).toBe("1");
    expect(Object.keys(environment).filter((name) => name.startsWith("npm_lifecycle_"))).toEqual([]);
  });
});

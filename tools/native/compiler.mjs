import { execFile } from "node:child_process";
import { existsSync, statSync } from "node:fs";
import { delimiter, dirname, isAbsolute, join, resolve } from "node:path";

/** One source file takes seconds; a compiler that takes this long hangs. */
const STEP_LIMIT_MS = 5 * 60_000;
const LOG_LIMIT_BYTES = 4 * 1024 * 1024;

const UNIX_FLAGS = ["-O3", "-std=c++17", "-fPIC", "-fvisibility=hidden", "-pthread", "-Wall", "-Wextra"];
const MSVC_FLAGS = ["/nologo", "/O2", "/std:c++17", "/EHsc", "/MT", "/W3"];
const DEFINES = ["NAPI_VERSION=8", "BUILDING_NODE_EXTENSION"];

/** Everything that decides what is compiled, apart from the sources. */
export const RECIPE = JSON.stringify([UNIX_FLAGS, MSVC_FLAGS, DEFINES]);

function findOnPath(program) {
  const suffixes = process.platform === "win32" ? [".exe", ".cmd", ""] : [""];
  const folders = isAbsolute(program) ? [""] : (process.env.PATH ?? "").split(delimiter).filter(Boolean);
  for (const folder of folders) {
    for (const suffix of suffixes) {
      const path = folder === "" ? program + suffix : join(folder, program + suffix);
      if (existsSync(path) && statSync(path).isFile()) return path;
    }
  }
  return undefined;
}

/** A C++ compiler: `{ path, isMsvc, setup }`, or undefined. CXX names one; otherwise the usual names are tried. */
export async function findCompiler() {
  const asked = process.env.CXX?.trim();
  if (asked) {
    const path = findOnPath(asked);
    return path && { path, isMsvc: /(^|[\\/])cl(\.exe)?$/i.test(path), setup: undefined };
  }
  if (process.platform === "win32") return findMsvc();
  for (const name of ["c++", "g++", "clang++"]) {
    const path = findOnPath(name);
    if (path !== undefined) return { path, isMsvc: false, setup: undefined };
  }
  return undefined;
}

/** Not run on any machine of ours yet: written from the documentation of Visual Studio's tools. */
async function findMsvc() {
  const onPath = findOnPath("cl.exe");
  if (onPath !== undefined) return { path: onPath, isMsvc: true, setup: undefined };
  const programs = process.env["ProgramFiles(x86)"] ?? "C:\\Program Files (x86)";
  const locator = join(programs, "Microsoft Visual Studio", "Installer", "vswhere.exe");
  if (!existsSync(locator)) return undefined;
  const component = "Microsoft.VisualStudio.Component.VC.Tools.x86.x64";
  const found = await runStep([
    locator,
    ["-latest", "-products", "*", "-requires", component, "-property", "installationPath"],
  ]);
  const script = join(found.output.trim(), "VC", "Auxiliary", "Build", "vcvarsall.bat");
  if (found.code !== 0 || !existsSync(script)) return undefined;
  return { path: "cl.exe", isMsvc: true, setup: `"${script}" ${process.arch}` };
}

/** Runs one command; resolves with its exit code and everything it printed. */
export function runStep([program, args], setup) {
  const command =
    setup === undefined
      ? [program, args, {}]
      : [
          "cmd.exe",
          [
            "/d",
            "/s",
            "/c",
            `"call ${setup} >nul && ${[program, ...args].map((part) => `"${part}"`).join(" ")}"`,
          ],
          { windowsVerbatimArguments: true },
        ];
  return new Promise((done) => {
    const options = { timeout: STEP_LIMIT_MS, maxBuffer: LOG_LIMIT_BYTES, ...command[2] };
    execFile(command[0], command[1], options, (error, stdout, stderr) =>
      done({
        code: error === null ? 0 : (error.code ?? 1),
        output: `${stdout}${stderr}${error?.signal ?? ""}`,
      }),
    );
  });
}

/** Where node_api.h is: in the package of headers, which needs no download, or beside Node. */
export function findHeaders(resolvePackage) {
  const candidates = [resolve(dirname(process.execPath), "..", "include", "node")];
  try {
    candidates.unshift(join(dirname(resolvePackage("node-api-headers/package.json")), "include"));
  } catch {
    // Not installed: what stands beside Node serves as well.
  }
  return candidates.find((folder) => existsSync(join(folder, "node_api.h")));
}

/**
 * Commands that build an addon: `compile` may run side by side, then `link`. `workFolder` takes what lies between.
 */
export function buildCommands({ compiler, sources, packageFolder, headersFolder, workFolder, outputPath }) {
  const objectOf = (index) => join(workFolder, `${index}.o`);
  const objects = sources.map((_, index) => objectOf(index));
  if (compiler.isMsvc)
    return msvcCommands({ compiler, sources, packageFolder, headersFolder, workFolder, outputPath, objects });
  const isMac = process.platform === "darwin";
  const shared = isMac ? ["-bundle", "-undefined", "dynamic_lookup"] : ["-shared"];
  return {
    compile: sources.map(({ path, flags = [] }, index) => [
      compiler.path,
      [
        ...UNIX_FLAGS,
        ...flags,
        ...DEFINES.map((define) => `-D${define}`),
        `-I${headersFolder}`,
        "-c",
        join(packageFolder, path),
        "-o",
        objectOf(index),
      ],
    ]),
    link: [[compiler.path, [...shared, "-pthread", ...objects, "-o", outputPath]]],
  };
}

/** Not run on any machine of ours yet. Node's own import library is made from the list of its symbols. */
function msvcCommands({ compiler, sources, packageFolder, headersFolder, workFolder, outputPath, objects }) {
  const machine = `/machine:${process.arch === "arm64" ? "ARM64" : "X64"}`;
  const libraries = ["node_api", "js_native_api"].map((name) => ({
    definitions: join(headersFolder, "..", "def", `${name}.def`),
    path: join(workFolder, `${name}.lib`),
  }));
  return {
    compile: sources.map(({ path, msvcFlags = [] }, index) => [
      compiler.path,
      [
        ...MSVC_FLAGS,
        ...msvcFlags,
        ...DEFINES.map((define) => `/D${define}`),
        `/I${headersFolder}`,
        "/c",
        join(packageFolder, path),
        `/Fo${objects[index]}`,
      ],
    ]),
    link: [
      ...libraries.map(({ definitions, path }) => [
        "lib.exe",
        ["/nologo", `/def:${definitions}`, `/out:${path}`, machine],
      ]),
      [
        "link.exe",
        ["/nologo", "/dll", machine, ...objects, ...libraries.map(({ path }) => path), `/out:${outputPath}`],
      ],
    ],
  };
}

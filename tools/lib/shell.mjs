import { spawn } from "node:child_process";

/** No single step may take longer: a hung child must end as a failure, not as a silent job. */
const STEP_LIMIT_MS = 20 * 60_000;
/** Kept output of a step; more than anybody reads, and a bound for a child that never stops printing. */
const OUTPUT_LIMIT_CHARS = 4 * 1024 * 1024;

/** What `npm run` sets for its own script; a nested npm or pnpm would take it for its own settings. */
const INHERITED =
  /^(npm_lifecycle_|npm_package_|npm_command$|npm_execpath$|npm_config_(local_|global_)?prefix$|INIT_CWD$)/;

/** Environment for child processes: ours without what an outer `npm run` left, and with telemetry off. */
export function childEnvironment(extra = {}) {
  const kept = Object.entries(process.env).filter(([name]) => !INHERITED.test(name));
  return {
    ...Object.fromEntries(kept),
    TURBO_TELEMETRY_DISABLED: "1",
    TURBO_NO_UPDATE_NOTIFIER: "1",
    DO_NOT_TRACK: "1",
    NO_UPDATE_NOTIFIER: "1",
    npm_config_update_notifier: "false",
    ...extra,
  };
}

/**
 * Runs a program to its end. Resolves with its exit code and its output (stdout and stderr, in order of arrival);
 * never rejects. With `inherit` the output goes to the terminal instead.
 */
export function run(command, args, { cwd, env, inherit = false, limitMs = STEP_LIMIT_MS } = {}) {
  return new Promise((resolve) => {
    const startedMs = Date.now();
    const child = spawn(command, args, {
      cwd,
      env: childEnvironment(env),
      stdio: inherit ? "inherit" : ["ignore", "pipe", "pipe"],
      shell: process.platform === "win32",
    });
    const chunks = [];
    let keptChars = 0;
    const keep = (text) => {
      if (keptChars < OUTPUT_LIMIT_CHARS) chunks.push(text);
      keptChars += text.length;
    };
    for (const stream of [child.stdout, child.stderr]) stream?.setEncoding("utf8").on("data", keep);
    const timer = setTimeout(() => {
      keep(`\nstopped after ${limitMs / 1000} s: ${command} ${args.join(" ")}\n`);
      child.kill("SIGKILL");
    }, limitMs);
    const finish = (code) => {
      clearTimeout(timer);
      resolve({ code, output: chunks.join(""), elapsedMs: Date.now() - startedMs });
    };
    child.on("error", (error) => {
      keep(`${command}: ${error.message}\n`);
      finish(127);
    });
    child.on("close", (code, signal) => finish(code ?? (signal ? 1 : 0)));
  });
}

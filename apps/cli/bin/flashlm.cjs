#!/usr/bin/env node
// CommonJS on purpose: the thread pool must get its size before anything uses it, and loading an ES module already does.
process.env.UV_THREADPOOL_SIZE ??= "32";
import("../dist/main.js").then((cli) => cli.main(process.argv.slice(2)));

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { renderErrorsPage } from "./errors-doc/render.mjs";
import { ROOT } from "./lib/workspace.mjs";

const contracts = pathToFileURL(join(ROOT, "packages/contracts/dist/index.js")).href;
const { ERROR_CODES } = await import(contracts);
writeFileSync(join(ROOT, "docs/errors.md"), renderErrorsPage(ERROR_CODES));

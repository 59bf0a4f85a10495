import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { ROOT } from "./workspace.mjs";

const NAMES = ["bundler", "flash-io", "kernels", "predictor", "runtime", "window-cache"];

/** Everything that the built packages export; imported late, because the list of points is printed before anything is built. */
export async function loadPackages() {
  const modules = await Promise.all(
    NAMES.map((name) => import(pathToFileURL(join(ROOT, "packages", name, "dist/index.js")).href)),
  );
  return Object.assign({}, ...modules);
}

/** Parts of an engine that reads the bundle from its device. */
export async function engineParts(packages, bundle, sparsity) {
  const {
    createReadPlanner,
    createSampler,
    ENGINE_AWAKE_US,
    kernelOverheadBytes,
    loadKernels,
    openFlashReader,
  } = packages;
  return {
    bundle,
    openReader: (paths) => openFlashReader(paths, { backend: "auto", awakeUs: ENGINE_AWAKE_US }),
    createPlanner: (options) => createReadPlanner(options),
    createKernels: (options) => loadKernels({ target: "auto", ...options }),
    kernelOverheadBytes,
    cache: packages.slotMapCache,
    predictor: packages.parseSparsity(sparsity),
    createSampler,
  };
}

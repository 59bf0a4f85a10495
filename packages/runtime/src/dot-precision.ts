import {
  type DotPrecision,
  isBlockDtype,
  type KernelOp,
  type KernelProgram,
  type KernelSet,
  type WeightDtype,
} from "@flashlm/contracts";

/** The dtype of the weights of an op whose precision can be chosen; undefined for the others. */
function weightDtype(op: KernelOp): WeightDtype | undefined {
  switch (op.op) {
    case "matmul":
      return op.weight.dtype;
    case "neuronScores":
      return op.gate.dtype;
    case "ffnActivations":
      return op.layout.parts.find(({ part }) => part === "up")?.dtype;
    default:
      return undefined;
  }
}

/** A kernel set that compiles dot products with quantised weights at `precision`; everything else is the given set's. */
export function withPrecision(kernels: KernelSet, precision: DotPrecision): KernelSet {
  if (precision === "f32") return kernels;
  const compile = (ops: readonly KernelOp[]): KernelProgram =>
    kernels.compile(
      ops.map((op) => {
        const dtype = weightDtype(op);
        return dtype && isBlockDtype(dtype) ? ({ ...op, precision } as KernelOp) : op;
      }),
    );
  return {
    contractVersion: 1,
    target: kernels.target,
    threadCount: kernels.threadCount,
    memory: kernels.memory,
    supports: (op, dtype) => kernels.supports(op, dtype),
    compile,
    run: (program) => kernels.run(program),
    ...(kernels.start ? { start: (program: KernelProgram) => kernels.start!(program) } : {}),
    close: () => kernels.close(),
  };
}

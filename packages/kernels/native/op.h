// One op as the kernels read it: places are offsets into the arena.
#pragma once
#include <cstdint>

#include "codes.h"

namespace flashlm {

/** A place that is fixed (`wordBytes` 0) or found when the op runs: u32 at `wordBytes` times 16, plus `offsetBytes`. */
struct Reference {
  uint64_t wordBytes = 0;
  uint64_t offsetBytes = 0;
  FLASHLM_INLINE bool present() const { return wordBytes != 0 || offsetBytes != 0; }
};

struct Weight {
  uint32_t dtype = kF32;
  uint32_t rowCount = 0;
  uint32_t columnCount = 0;
  Reference base;
};

/** A vector within a neuron record. */
struct Part {
  bool present = false;
  uint32_t dtype = kF32;
  uint32_t offsetBytes = 0;
};

struct Record {
  uint32_t hiddenSize = 0;
  uint32_t strideBytes = 0;
  Part gate, up, down;
};

/** Fields have the names of the contract's KernelOp; an op uses those that it has there. */
struct Op {
  uint32_t code = 0;
  uint64_t tokenCount = 0;
  uint64_t position = 0;
  uint64_t source = 0;
  uint64_t target = 0;
  uint64_t extra[4] = {};
  uint32_t count[4] = {};
  float number[2] = {};
  uint32_t kind = 0;
  bool quantised = false;
  bool accumulate = false;
  uint32_t activation = kSilu;
  float threshold = 0;
  bool upRelu = false;
  Weight weight, up;
  Record record;
  uint64_t addresses = 0, ids = 0, order = 0, orderBegin = 0, orderEnd = 0;
  uint64_t activations = 0, mask = 0;
  uint32_t activationStride = 0, maskStride = 0;
  uint32_t sourceDtype = kF32, targetDtype = kF32;
  Reference bias, upBias, norms, slopes, sinks;
};

}  // namespace flashlm

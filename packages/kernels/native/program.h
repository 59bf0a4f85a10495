// Programs: lists of ops.
#pragma once
#include <string>
#include <vector>

#include "op.h"

namespace flashlm {

struct Program {
  std::vector<Op> ops;
};

/** Reads the numbers that src/native/encode.ts writes; false and a reason where they are none. */
bool readProgram(const double* words, size_t count, Program& program, std::string& reason);

}  // namespace flashlm

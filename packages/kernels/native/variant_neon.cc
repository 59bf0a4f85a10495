#include <cstdint>
#include <cstring>

#include "run.h"
#include "variants.h"
#include "vec_neon.h"
#include "ops/all.h"

namespace flashlm {

extern const Variant kVariantNeon = {"neon", runOp, readMemory, multiplyAdd};

}  // namespace flashlm

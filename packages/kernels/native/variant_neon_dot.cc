#include <cstdint>
#include <cstring>

#include "run.h"
#include "variants.h"
#include "vec_neon.h"
#include "ops/all.h"

namespace flashlm {

extern const Variant kVariantNeonDot = {"neon-dot", runOp, readMemory, multiplyAdd};

}  // namespace flashlm

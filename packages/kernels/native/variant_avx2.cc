#include <cstdint>
#include <cstring>

#include "run.h"
#include "variants.h"
#include "vec_avx2.h"
#include "ops/all.h"

namespace flashlm {

extern const Variant kVariantAvx2 = {"avx2", runOp, readMemory, multiplyAdd};

}  // namespace flashlm

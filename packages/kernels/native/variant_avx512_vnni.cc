#include <cstdint>
#include <cstring>

#include "run.h"
#include "variants.h"
#include "vec_avx512.h"
#include "ops/all.h"

namespace flashlm {

extern const Variant kVariantAvx512Vnni = {"avx512-vnni", runOp, readMemory, multiplyAdd};

}  // namespace flashlm

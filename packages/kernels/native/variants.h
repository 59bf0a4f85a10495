// Variants that the build made, best first, and what each needs of the machine.
#pragma once
#include "run.h"

namespace flashlm {

extern const Variant kVariantAvx2;
extern const Variant kVariantAvx512;
extern const Variant kVariantAvx512Vnni;
extern const Variant kVariantNeon;
extern const Variant kVariantNeonDot;

struct VariantChoice {
  const Variant* variant;
  /** What the machine lacks; nullptr where the variant can be used. */
  const char* missing;
};

/** All variants of this build, fastest first. Compiled without any instruction set beyond the platform's baseline. */
const VariantChoice* variantChoices(uint32_t* count);

}  // namespace flashlm

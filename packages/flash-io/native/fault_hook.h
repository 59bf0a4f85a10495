#pragma once
#include <cstdint>

namespace flash_io {

struct Read;

#if defined(FLASH_IO_FAULTS)
/** Test builds only: may turn the result of a request into another one. Defined by the harness. */
int64_t inject_fault(const Read& read, int64_t result);
#else
inline int64_t inject_fault(const Read&, int64_t result) { return result; }
#endif

}  // namespace flash_io

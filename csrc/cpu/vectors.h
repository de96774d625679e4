// Vectors of the width that this file is compiled for; the same source serves every instruction set.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX512F__)
#define VX_ISA avx512
#define VX_LANES 16
#elif defined(__AVX2__)
#define VX_ISA avx2
#define VX_LANES 8
#else
#define VX_ISA plain
#define VX_LANES 4
#endif

namespace videxplain::VX_ISA {

constexpr int kLanes = VX_LANES;
typedef float Floats __attribute__((vector_size(4 * VX_LANES)));
typedef int32_t Ints __attribute__((vector_size(4 * VX_LANES)));

inline Floats load(const float* from) {
  Floats values;
  std::memcpy(&values, from, sizeof values);
  return values;
}

inline void store(float* to, Floats values) { std::memcpy(to, &values, sizeof values); }
inline void store(int32_t* to, Ints values) { std::memcpy(to, &values, sizeof values); }
inline Floats all(float value) { return value - Floats{}; }

}  // namespace videxplain::VX_ISA

// Vectors of the width that this file is compiled for; the same source serves every instruction set.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

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

// A bit for each lane in which the two differ.
inline uint32_t different(Ints a, Ints b) {
#if defined(__AVX512F__)
  return _mm512_cmpneq_epi32_mask(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b));
#elif defined(__AVX2__)
  const Ints same = a == b;
  return ~static_cast<uint32_t>(_mm256_movemask_ps(reinterpret_cast<__m256>(same))) & 0xff;
#else
  uint32_t bits = 0;
  for (int i = 0; i < kLanes; ++i) bits |= static_cast<uint32_t>(a[i] != b[i]) << i;
  return bits;
#endif
}

// a * b + c, rounded once.
inline Floats fused(Floats a, Floats b, Floats c) {
#if defined(__AVX512F__)
  return _mm512_fmadd_ps(a, b, c);
#elif defined(__AVX2__)
  return _mm256_fmadd_ps(a, b, c);
#else
  for (int i = 0; i < kLanes; ++i) c[i] = std::fma(a[i], b[i], c[i]);
  return c;
#endif
}

}  // namespace videxplain::VX_ISA

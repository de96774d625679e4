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

inline Ints load(const int32_t* from) {
  Ints values;
  std::memcpy(&values, from, sizeof values);
  return values;
}

// The first lanes from memory, the others 0.
inline Floats load(const float* from, int lanes) {
#if defined(__AVX512F__)
  return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << lanes) - 1), from);
#elif defined(__AVX2__)
  const __m256i wanted = _mm256_cmpgt_epi32(_mm256_set1_epi32(lanes), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  return _mm256_maskload_ps(from, wanted);
#else
  Floats values{};
  for (int i = 0; i < lanes; ++i) values[i] = from[i];
  return values;
#endif
}

inline Ints load(const int32_t* from, int lanes) {
  return reinterpret_cast<Ints>(load(reinterpret_cast<const float*>(from), lanes));
}

inline void store(float* to, Floats values) { std::memcpy(to, &values, sizeof values); }
inline void store(int32_t* to, Ints values) { std::memcpy(to, &values, sizeof values); }
inline Floats all(float value) { return value - Floats{}; }

// Keeps the compiler from reading a value again wherever it is used.
inline Ints in_register(Ints values) {
#if defined(__AVX2__)
  asm("" : "+v"(values));
#endif
  return values;
}

inline Floats absolute(Floats values) { return reinterpret_cast<Floats>(reinterpret_cast<Ints>(values) & 0x7fffffff); }

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

#if defined(__AVX2__) && !defined(__AVX512F__)
// For each byte the numbers of the bits that are set in it, in order.
struct SetBits {
  uint8_t of[256][8] = {};
  constexpr SetBits() {
    for (int byte = 0; byte < 256; ++byte)
      for (int bit = 0, found = 0; bit < 8; ++bit)
        if (byte >> bit & 1) of[byte][found++] = static_cast<uint8_t>(bit);
  }
};
inline constexpr SetBits kSetBits;
#endif

// Puts the lanes with a bit side by side and says how many; writes kLanes values to both places all the same.
inline int pack(Floats values, Ints also, uint32_t bits, float* to, int32_t* also_to) {
#if defined(__AVX512F__)
  const __mmask16 mask = static_cast<__mmask16>(bits);
  store(to, reinterpret_cast<Floats>(_mm512_maskz_compress_ps(mask, values)));
  store(also_to, reinterpret_cast<Ints>(_mm512_maskz_compress_epi32(mask, reinterpret_cast<__m512i>(also))));
  return __builtin_popcount(bits);
#elif defined(__AVX2__)
  const __m128i lanes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(kSetBits.of[bits]));
  const __m256i order = _mm256_cvtepu8_epi32(lanes);
  store(to, reinterpret_cast<Floats>(_mm256_permutevar8x32_ps(values, order)));
  store(also_to, reinterpret_cast<Ints>(_mm256_permutevar8x32_epi32(reinterpret_cast<__m256i>(also), order)));
  return __builtin_popcount(bits);
#else
  int found = 0;
  for (int i = 0; i < kLanes; ++i) {  // no branch that could be guessed wrong
    to[found] = values[i], also_to[found] = also[i];
    found += bits >> i & 1;
  }
  return found;
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

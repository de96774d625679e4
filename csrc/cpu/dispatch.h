#pragma once

#include "variants.h"

namespace videxplain {

struct Variants {
  const char* name;
  decltype(&plain::lab_of_linear) lab_of_linear;
  decltype(&plain::slic) slic;
  decltype(&plain::slic_exact) slic_exact;
  decltype(&plain::segment_reduce) segment_reduce;
  decltype(&plain::clamp_chords) clamp_chords;
  decltype(&plain::max_pool_chords) max_pool_chords;
};

const Variants& variants();

}  // namespace videxplain

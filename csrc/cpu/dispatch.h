#pragma once

#include "variants.h"

namespace videxplain {

struct Variants {
  const char* name;
  decltype(&plain::lab_of_linear) lab_of_linear;
  decltype(&plain::slic) slic;
  decltype(&plain::slic_exact) slic_exact;
  decltype(&plain::segment_reduce) segment_reduce;
};

const Variants& variants();

}  // namespace videxplain

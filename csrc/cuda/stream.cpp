#include <dlfcn.h>

#include "launch.h"

namespace videxplain::cuda {

StreamOfTorch stream_of_torch() {
  static const auto function = [] {
    void* library = dlopen("libtorch_cuda.so", RTLD_LAZY | RTLD_NOLOAD);
    return library == nullptr ? nullptr : dlsym(library, "aoti_torch_get_current_cuda_stream");
  }();
  return reinterpret_cast<StreamOfTorch>(function);
}

}  // namespace videxplain::cuda

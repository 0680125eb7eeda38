// The compute capabilities that the library holds CUDA code for, separated by spaces, as setup.py passed them to nvcc;
// empty without CUDA.
extern "C" __attribute__((visibility("default"))) const char* gpgan_cuda_architectures() {
#ifdef GPGAN_WITH_CUDA
  return GPGAN_CUDA_ARCHITECTURES;
#else
  return "";
#endif
}

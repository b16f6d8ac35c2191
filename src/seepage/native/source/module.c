/* An importable module with nothing in it: its functions are called by address. */
#include <Python.h>

#if defined(__GNUC__) && defined(__x86_64__)
#define BY_LEVELS 1
#else
#define BY_LEVELS 0
#endif

/* The highest level whose instructions this processor has: 0 base, 1 AVX2, 2 AVX-512. */
#if defined(_WIN32)
__declspec(dllexport)
#else
__attribute__((visibility("default")))
#endif
int seepage_level(void) {
#if BY_LEVELS
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
    return 2;
  if (__builtin_cpu_supports("avx2")) return 1;
#endif
  return 0;
}

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_kernels", NULL, -1, NULL, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__kernels(void) { return PyModule_Create(&definition); }

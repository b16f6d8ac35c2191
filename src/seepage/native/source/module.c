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

#if BY_LEVELS && ((defined(__clang__) && __clang_major__ >= 9) || (!defined(__clang__) && __GNUC__ >= 10))
#define WITH_BF16 1
#else
#define WITH_BF16 0
#endif

/* Whether this processor multiplies pairs of bfloat16, and the kernels that do are there. */
#if defined(_WIN32)
__declspec(dllexport)
#else
__attribute__((visibility("default")))
#endif
int seepage_bf16(void) {
#if WITH_BF16
  return seepage_level() == 2 && __builtin_cpu_supports("avx512bf16") != 0;
#else
  return 0;
#endif
}

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_kernels", NULL, -1, NULL, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__kernels(void) { return PyModule_Create(&definition); }

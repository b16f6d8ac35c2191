/* Kernels that only processors which multiply bfloat16 have. */
#if defined(__GNUC__) && defined(__x86_64__) && \
    ((defined(__clang__) && __clang_major__ >= 9) || (!defined(__clang__) && __GNUC__ >= 10))
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx512bf16"))), \
                             apply_to = function)
#else
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,avx512bf16,prefer-vector-width=512")
#endif
#include <immintrin.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#define EXPORTED __attribute__((visibility("default")))
#include "conv_weights.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
typedef int no_empty_file;

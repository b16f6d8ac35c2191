/* All kernels, at the level of the file that includes this.
 *
 * A kernel takes raw pointers to contiguous arrays and their sizes, and the part [first, last) of the
 * work that it is to do; which part never changes a result. Arrays that are written do not overlap
 * those that are read. What it needs for itself lies on the stack or is allocated and freed here; a
 * kernel that could not get memory returns 1, else 0.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(_WIN32)
#define EXPORTED __declspec(dllexport)
#else
#define EXPORTED __attribute__((visibility("default")))
#endif

#if defined(_MSC_VER)
#define restrict __restrict
#endif

#include "pair_auc.h"

/* bfloat16 as its bits: the upper half of a float's. */
static inline float LEVEL(from_bf16)(uint16_t bits) {
  uint32_t wide = (uint32_t)bits << 16;
  float value;
  memcpy(&value, &wide, sizeof value);
  return value;
}

static inline uint16_t LEVEL(to_bf16)(float value) { /* of a float that is one: nothing is rounded */
  uint32_t wide;
  memcpy(&wide, &value, sizeof wide);
  return (uint16_t)(wide >> 16);
}

#define VALUE float
#define TYPED(name) LEVEL(name##_f4)
#define TO_FLOAT(v) (v)
#define FROM_FLOAT(v) (v)
#include "pool_relu.h"
#undef VALUE
#undef TYPED
#undef TO_FLOAT
#undef FROM_FLOAT
#define VALUE uint16_t
#define TYPED(name) LEVEL(name##_bf16)
#define TO_FLOAT(v) LEVEL(from_bf16)(v)
#define FROM_FLOAT(v) LEVEL(to_bf16)(v)
#include "pool_relu.h"
#undef VALUE
#undef TYPED
#undef TO_FLOAT
#undef FROM_FLOAT

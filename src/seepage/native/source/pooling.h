/* Layers of networks that run as one, for the types that networks are trained in. */
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
#include "norm_relu.h"

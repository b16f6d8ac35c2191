/* Normalisation by a batch's own moments, then ReLU, of bfloat16 images (pixels, C) whose channels lie
 * side by side, and its gradients. Values are taken as float32, each result is rounded once.
 *
 *     v = (x - mean) / sqrt(var + eps) · weight + bias = a·x + b,   out = max(0, v)
 *     g = slope where v > 0, else 0
 *     the slope at x = a·(g - mean of g - x̂ · mean of g·x̂)
 *
 * Sums are taken of NORM_PART pixels at a time in a fixed order and added in float64, so that no result
 * depends on which part [first, last) is done where.
 */
#define NORM_PART 1024
#define NORM_RUN 64
#if defined(__GNUC__)
#define NORM_AHEAD(at) __builtin_prefetch(at), __builtin_prefetch((at) + 32)
#else
#define NORM_AHEAD(at)
#endif
#define NORM_CHANNELS 64

static inline uint16_t LEVEL(rounded_bf16)(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  uint32_t near = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  return (uint16_t)(value != value ? 0x7fc0 : near);
}

/* Sums of `of` channels over one run of pixels: of values beside `about`, and of their squares; with
 * slopes, of g and of g times the values. */
static INLINED void LEVEL(norm_run)(const uint16_t *restrict x, const uint16_t *restrict slope,
                                    int64_t pixels, int64_t channels, const int64_t of,
                                    const float *restrict about, const float *restrict a,
                                    const float *restrict b, float *restrict one,
                                    float *restrict two) {
  for (int64_t c = 0; c < of; c++) one[c] = two[c] = 0.0f;
  for (int64_t p = 0; p < pixels; p++, x += channels) {
    if (slope) {
      NORM_AHEAD(x + 2048);
      NORM_AHEAD(slope + 2048);
      for (int64_t c = 0; c < of; c++) {
        float v = LEVEL(from_bf16)(x[c]);
        float g = a[c] * v + b[c] > 0.0f ? LEVEL(from_bf16)(slope[c]) : 0.0f;
        one[c] += g;
        two[c] += g * (v - about[c]);
      }
      slope += channels;
    } else {
      for (int64_t c = 0; c < of; c++) {
        float v = LEVEL(from_bf16)(x[c]) - about[c];
        one[c] += v;
        two[c] += v * v;
      }
    }
  }
}

static INLINED void LEVEL(norm_part)(const uint16_t *restrict x, const uint16_t *restrict slope,
                                     int64_t pixels, int64_t channels, const int64_t of,
                                     const float *restrict about, const float *restrict a,
                                     const float *restrict b, double *restrict one,
                                     double *restrict two) {
  float some[NORM_CHANNELS], other[NORM_CHANNELS];
  for (int64_t c = 0; c < of; c++) one[c] = two[c] = 0.0;
  for (int64_t p = 0; p < pixels; p += NORM_RUN) {
    int64_t run = pixels - p < NORM_RUN ? pixels - p : NORM_RUN;
    LEVEL(norm_run)(x + p * channels, slope ? slope + p * channels : NULL, run, channels, of, about, a, b,
                    some, other);
    for (int64_t c = 0; c < of; c++) {
      one[c] += some[c];
      two[c] += other[c];
    }
  }
}

/* Pixels that are taken as one, whose channels then fill the lanes of several vectors. */
static inline int64_t LEVEL(norm_together)(int64_t pixels, int64_t channels) {
  int64_t f = channels < NORM_CHANNELS && NORM_CHANNELS % channels == 0 ? NORM_CHANNELS / channels : 1;
  return pixels % f ? 1 : f;
}

static inline void LEVEL(norm_repeat)(const float *restrict from, int64_t channels, int64_t times,
                                      float *restrict to) {
  for (int64_t c = 0; c < channels * times; c++) to[c] = from[c % channels];
}

/* sums (parts, 2, C) of parts [first, last); slope may be NULL, about is what values are taken beside. */
EXPORTED int LEVEL(norm_relu_sums)(const uint16_t *restrict x, const uint16_t *restrict slope,
                                   const float *restrict about, const float *restrict a,
                                   const float *restrict b, int64_t pixels, int64_t channels,
                                   int64_t first, int64_t last, double *restrict sums) {
  const int64_t f = LEVEL(norm_together)(pixels, channels), wide = f * channels;
  float by[NORM_CHANNELS], scale[NORM_CHANNELS], shift[NORM_CHANNELS];
  double one[NORM_CHANNELS], two[NORM_CHANNELS];
  for (int64_t part = first; part < last; part++) {
    int64_t begin = part * NORM_PART, count = pixels - begin < NORM_PART ? pixels - begin : NORM_PART;
    for (int64_t c = 0; c < wide; c += NORM_CHANNELS) {
      const int64_t of = wide - c < NORM_CHANNELS ? wide - c : NORM_CHANNELS;
      const uint16_t *from = x + begin * channels + c;
      LEVEL(norm_repeat)(about + c, f > 1 ? channels : of, f, by);
      if (slope) {
        const uint16_t *with = slope + begin * channels + c;
        LEVEL(norm_repeat)(a + c, f > 1 ? channels : of, f, scale);
        LEVEL(norm_repeat)(b + c, f > 1 ? channels : of, f, shift);
        if (of == NORM_CHANNELS)
          LEVEL(norm_part)(from, with, count / f, wide, NORM_CHANNELS, by, scale, shift, one, two);
        else
          LEVEL(norm_part)(from, with, count / f, wide, of, by, scale, shift, one, two);
      } else if (of == NORM_CHANNELS) {
        LEVEL(norm_part)(from, NULL, count / f, wide, NORM_CHANNELS, by, NULL, NULL, one, two);
      } else {
        LEVEL(norm_part)(from, NULL, count / f, wide, of, by, NULL, NULL, one, two);
      }
      double *to = sums + part * 2 * channels + c;
      for (int64_t k = 0; k < of / f; k++) {
        to[k] = to[channels + k] = 0.0;
        for (int64_t j = k; j < of; j += of / f) {
          to[k] += one[j];
          to[channels + k] += two[j];
        }
      }
    }
  }
  return 0;
}

/* From sums beside `about`: mean, 1/sqrt(var + eps), a and b, one after another in made (4, C); the running
 * moments move on by momentum, of the unbiased variance. */
EXPORTED int LEVEL(norm_relu_moments)(const double *restrict sums, const float *restrict about,
                                      const float *restrict weight, const float *restrict bias,
                                      int64_t pixels, int64_t channels, double eps, double momentum,
                                      float *restrict running_mean, float *restrict running_var,
                                      float *restrict made) {
  int64_t parts = (pixels + NORM_PART - 1) / NORM_PART;
  double n = (double)pixels;
  for (int64_t c = 0; c < channels; c++) {
    double one = 0.0, two = 0.0;
    for (int64_t part = 0; part < parts; part++) {
      one += sums[part * 2 * channels + c];
      two += sums[(part * 2 + 1) * channels + c];
    }
    double beside = one / n, spread = two / n - beside * beside;
    if (spread < 0.0) spread = 0.0;
    double mean = (double)about[c] + beside, root = 1.0 / sqrt(spread + eps);
    made[c] = (float)mean;
    made[channels + c] = (float)root;
    made[2 * channels + c] = (float)(root * weight[c]);
    made[3 * channels + c] = (float)(bias[c] - mean * root * weight[c]);
    running_mean[c] = (float)((1.0 - momentum) * running_mean[c] + momentum * mean);
    running_var[c] = (float)((1.0 - momentum) * running_var[c] + momentum * spread * n / (n - 1.0));
  }
  return 0;
}

static INLINED void LEVEL(norm_out)(const uint16_t *restrict x, const float *restrict a,
                                    const float *restrict b, int64_t pixels, int64_t channels,
                                    const int64_t of, uint16_t *restrict out) {
  for (int64_t p = 0; p < pixels; p++, x += channels, out += channels)
    for (int64_t c = 0; c < of; c++) {
      float v = a[c] * LEVEL(from_bf16)(x[c]) + b[c];
      out[c] = LEVEL(rounded_bf16)(v < 0.0f ? 0.0f : v);
    }
}

EXPORTED int LEVEL(norm_relu)(const uint16_t *restrict x, const float *restrict a,
                              const float *restrict b, int64_t channels, int64_t first, int64_t last,
                              uint16_t *restrict out) {
  const int64_t f = LEVEL(norm_together)(last - first, channels);
  x += first * channels, out += first * channels;
  if (f * channels == NORM_CHANNELS) {
    float scale[NORM_CHANNELS], shift[NORM_CHANNELS];
    LEVEL(norm_repeat)(a, channels, f, scale);
    LEVEL(norm_repeat)(b, channels, f, shift);
    LEVEL(norm_out)(x, scale, shift, (last - first) / f, NORM_CHANNELS, NORM_CHANNELS, out);
  } else {
    LEVEL(norm_out)(x, a, b, last - first, channels, channels, out);
  }
  return 0;
}

/* From sums with slopes: the gradients at weight and bias, and in made (2, C) what x and 1 count for. */
EXPORTED int LEVEL(norm_relu_slopes)(const double *restrict sums, const float *restrict mean,
                                     const float *restrict root, const float *restrict a,
                                     int64_t pixels, int64_t channels, float *restrict of_weight,
                                     float *restrict of_bias, float *restrict made) {
  int64_t parts = (pixels + NORM_PART - 1) / NORM_PART;
  double n = (double)pixels;
  for (int64_t c = 0; c < channels; c++) {
    double one = 0.0, two = 0.0;
    for (int64_t part = 0; part < parts; part++) {
      one += sums[part * 2 * channels + c];
      two += sums[(part * 2 + 1) * channels + c];
    }
    double along = two * root[c] * root[c] / n;
    of_bias[c] = (float)one;
    of_weight[c] = (float)(two * root[c]);
    made[c] = (float)(-along * a[c]);
    made[channels + c] = (float)((along * mean[c] - one / n) * a[c]);
  }
  return 0;
}

static INLINED void LEVEL(norm_back)(const uint16_t *restrict x, const uint16_t *restrict slope,
                                     const float *restrict a, const float *restrict b,
                                     const float *restrict of_x, const float *restrict of_one,
                                     int64_t pixels, int64_t channels, const int64_t of,
                                     uint16_t *restrict out) {
  for (int64_t p = 0; p < pixels; p++, x += channels, slope += channels, out += channels)
    for (int64_t c = 0; c < of; c++) {
      float v = LEVEL(from_bf16)(x[c]), g = LEVEL(from_bf16)(slope[c]);
      g = a[c] * v + b[c] > 0.0f ? g : 0.0f;
      out[c] = LEVEL(rounded_bf16)(a[c] * g + (of_x[c] * v + of_one[c]));
    }
}

EXPORTED int LEVEL(norm_relu_back)(const uint16_t *restrict x, const uint16_t *restrict slope,
                                   const float *restrict a, const float *restrict b,
                                   const float *restrict of_x, const float *restrict of_one,
                                   int64_t channels, int64_t first, int64_t last,
                                   uint16_t *restrict out) {
  const int64_t f = LEVEL(norm_together)(last - first, channels);
  x += first * channels, slope += first * channels, out += first * channels;
  if (f * channels == NORM_CHANNELS) {
    float wide[4][NORM_CHANNELS];
    LEVEL(norm_repeat)(a, channels, f, wide[0]);
    LEVEL(norm_repeat)(b, channels, f, wide[1]);
    LEVEL(norm_repeat)(of_x, channels, f, wide[2]);
    LEVEL(norm_repeat)(of_one, channels, f, wide[3]);
    LEVEL(norm_back)(x, slope, wide[0], wide[1], wide[2], wide[3], (last - first) / f, NORM_CHANNELS,
                     NORM_CHANNELS, out);
  } else {
    LEVEL(norm_back)(x, slope, a, b, of_x, of_one, last - first, channels, channels, out);
  }
  return 0;
}
#undef NORM_PART
#undef NORM_RUN
#undef NORM_CHANNELS

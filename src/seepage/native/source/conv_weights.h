/* The gradient at the weights of a 3×3 convolution (padding 1, stride 1 or 2) of bfloat16 images whose
 * channels lie side by side, on processors that multiply pairs of bfloat16 (AVX-512 BF16).
 *
 * out (Cout, 3, 3, Cin) = sum over images and pixels of slope (B, Ho, Wo, Cout) · x (B, H, W, Cin), in
 * float32 in a fixed order; of_bias (Cout), or NULL, = sum of slope. Cin is a multiple of 16, Cout of 32. The work is
 * cut into tiles of 4 input × 32 output channels: [first, last) of (Cout/32)(Cin/4).
 *
 * A chunk is some images, or rows of one. Two pixels that are neighbours in the output's row are a pair.
 * Slopes are copied as (Cout/32, images, rows, pairs, 32, 2); x, which moves along with the window's
 * column, once for each of the three: (Cin/16, images, rows, pairs, 3, 16, 2). A vector of sums is one weight
 * at 16 output channels, and 24 of them stay in registers while a chunk passes by.
 */
#define CHUNK_PAIRS 256
#define X_PAIR 96     /* values of x for a pair: 3 columns × 16 channels × 2 */
#define SLOPE_PAIR 64 /* 32 channels × 2 */

typedef struct {
  int64_t height, width, from, rows, columns, to, stride, pairs;
} conv_shape;

/* 32 channels of two pixels side by side, four and four in turn to each of two places. */
static inline void conv_beside(__m512i a, __m512i b, uint16_t *restrict one, uint16_t *restrict two) {
  _mm512_store_si512(one, _mm512_unpacklo_epi16(a, b));
  _mm512_store_si512(two, _mm512_unpackhi_epi16(a, b));
}

/* One input row, the channels of `here`, into two blocks of 16. */
static inline void conv_copy_x(const conv_shape *s, const uint16_t *restrict row, __mmask32 here,
                               uint16_t *restrict one, uint16_t *restrict two) {
#define PIXEL_AT(at) \
  ((at) < s->width ? _mm512_maskz_loadu_epi16(here, row + (at) * s->from) : _mm512_setzero_si512())
  __m512i a = _mm512_setzero_si512(), b = PIXEL_AT(0);
  for (int64_t p = 0; p < s->pairs; p++, one += X_PAIR, two += X_PAIR)
    if (s->stride == 1) {
      __m512i c = PIXEL_AT(2 * p + 1), d = PIXEL_AT(2 * p + 2);
      conv_beside(a, b, one, two);
      conv_beside(b, c, one + 32, two + 32);
      conv_beside(c, d, one + 64, two + 64);
      a = c, b = d;
    } else {
      __m512i c = PIXEL_AT(4 * p + 1), d = PIXEL_AT(4 * p + 2), e = PIXEL_AT(4 * p + 3);
      conv_beside(a, c, one, two);
      conv_beside(b, d, one + 32, two + 32);
      conv_beside(c, e, one + 64, two + 64);
      a = e, b = PIXEL_AT(4 * p + 4);
    }
#undef PIXEL_AT
}

/* One row of slopes, 32 channels, and their sum onto `total`. */
static inline void conv_copy_slope(const conv_shape *s, const uint16_t *restrict row,
                                   uint16_t *restrict to, float *restrict total) {
  const __m512bh ones = (__m512bh)_mm512_set1_epi16(0x3f80);
  __m512 low = _mm512_load_ps(total), high = _mm512_load_ps(total + 16);
  for (int64_t p = 0; p < s->pairs; p++, row += 2 * s->to, to += SLOPE_PAIR) {
    conv_beside(_mm512_loadu_si512(row),
                2 * p + 1 < s->columns ? _mm512_loadu_si512(row + s->to) : _mm512_setzero_si512(), to,
                to + 32);
    low = _mm512_dpbf16_ps(low, (__m512bh)_mm512_load_si512(to), ones);
    high = _mm512_dpbf16_ps(high, (__m512bh)_mm512_load_si512(to + 32), ones);
  }
  _mm512_store_ps(total, low);
  _mm512_store_ps(total + 16, high);
}

#define TIMES(n, k)                                                  \
  value = (__m512bh)_mm512_set1_epi32(x[16 * k + n]);                \
  sum[8 * k + 2 * n] = _mm512_dpbf16_ps(sum[8 * k + 2 * n], value, one); \
  sum[8 * k + 2 * n + 1] = _mm512_dpbf16_ps(sum[8 * k + 2 * n + 1], value, two);
#define FOUR(k) TIMES(0, k) TIMES(1, k) TIMES(2, k) TIMES(3, k)

/* 12 weights at 32 output channels, over the same rows of some images that lie `apart`. */
static inline void conv_tile(const conv_shape *s, const int32_t *x_image, const uint16_t *slope_image,
                             int64_t images, int64_t x_apart, int64_t slope_apart, int64_t rows,
                             const char *next, int64_t bytes, float *restrict kept) {
  __m512 sum[24];
  const int64_t step = X_PAIR / 2, after = s->stride * s->pairs * step;
  const int64_t inner = s->stride == 1 ? rows * s->pairs : s->pairs; /* rows without a gap are one */
  const int64_t outer = s->stride == 1 ? 1 : rows;
  const int64_t ahead = bytes / (images * rows * s->pairs) + 1;
  for (int i = 0; i < 24; i++) sum[i] = _mm512_load_ps(kept + 16 * i);
  for (int64_t i = 0; i < images; i++, x_image += x_apart, slope_image += slope_apart) {
    const int32_t *row = x_image;
    const uint16_t *slope = slope_image;
    for (int64_t r = 0; r < outer; r++, row += after) {
      const int32_t *x = row;
      for (int64_t p = 0; p < inner; p++, slope += SLOPE_PAIR, x += step, next += ahead) {
        _mm_prefetch(next, _MM_HINT_T1);
        __m512bh one = (__m512bh)_mm512_load_si512(slope), value;
        __m512bh two = (__m512bh)_mm512_load_si512(slope + 32);
        FOUR(0) FOUR(1) FOUR(2)
      }
    }
  }
  for (int i = 0; i < 24; i++) _mm512_store_ps(kept + 16 * i, sum[i]);
}
#undef TIMES
#undef FOUR

/* Where the four input channels of a tile lie: in which block of 16, where in it, and which they are. */
typedef struct {
  int64_t block, place, channel;
} conv_four;

static inline conv_four conv_input(int64_t tile, int64_t from) {
  int64_t wide = tile / 8, in = tile % 8, half = from - wide * 32 < 32 ? 2 : 4;
  conv_four f = {2 * wide + in / half, in % half * 8, wide * 32 + in % half * 8 + in / half * 4};
  return f;
}

EXPORTED int conv_weights_bf16_avx512(const uint16_t *restrict x, const uint16_t *restrict slope,
                               int64_t images, int64_t height, int64_t width, int64_t from,
                               int64_t rows, int64_t columns, int64_t to, int64_t stride,
                               int64_t first, int64_t last, float *restrict out,
                               float *restrict of_bias) {
  const conv_shape shape = {height, width, from, rows, columns, to, stride, (columns + 1) / 2};
  const conv_shape *s = &shape;
  const int64_t blocks = from / 4, line = s->pairs * X_PAIR, slope_line = s->pairs * SLOPE_PAIR;
  int64_t high = CHUNK_PAIRS / s->pairs, group = 1; /* rows and images of a chunk */
  if (high < 1) high = 1;
  if (high >= rows) {
    group = high / rows < images ? high / rows : images;
    high = rows;
  }
  int64_t reach = high * stride + 2 < height ? high * stride + 2 : height;
  const int64_t block = group * reach * line, slope_block = group * high * slope_line;
  const int64_t n_first = first / blocks, n_last = (last - 1) / blocks + 1;
  const int whole = n_last - n_first > 1; /* every input channel is wanted */
  const int64_t wide_first = whole ? 0 : first % blocks / 8;
  const int64_t wide_last = whole ? (from + 31) / 32 : (last - 1) % blocks / 8 + 1;
  const size_t of_total = (size_t)(n_last - n_first) * 32 * sizeof(float);
  const size_t of_sums = (size_t)(last - first) * 3 * 24 * 16 * sizeof(float) + of_total;
  const size_t of_copies = (size_t)block * (size_t)((from + 31) / 32) * 2 * sizeof(uint16_t);
  const size_t of_slope = (size_t)slope_block * (size_t)(n_last - n_first) * sizeof(uint16_t);
  char *memory = malloc(of_sums + of_copies + of_slope + 64);
  if (!memory) return 1;
  float *total = (float *)(((uintptr_t)memory + 63) & ~(uintptr_t)63);
  float *kept = total + (n_last - n_first) * 32;
  uint16_t *copied = (uint16_t *)((char *)total + of_sums);
  uint16_t *copied_slope = (uint16_t *)((char *)copied + of_copies);
  memset(total, 0, of_sums);
  for (int64_t image = 0; image < images; image += group)
    for (int64_t top = 0; top < rows; top += high) {
      const int64_t count = images - image < group ? images - image : group;
      const int64_t end = top + high < rows ? top + high : rows;
      const int64_t x_top = top * stride - 1 > 0 ? top * stride - 1 : 0;
      const int64_t x_end = (end - 1) * stride + 2 < height ? (end - 1) * stride + 2 : height;
      const int64_t x_image = (x_end - x_top) * line, slope_image = (end - top) * slope_line;
      for (int64_t i = 0; i < count; i++) {
        for (int64_t r = x_top; r < x_end; r++)
          for (int64_t w = wide_first; w < wide_last; w++) {
            uint16_t *one = copied + 2 * w * block + i * x_image + (r - x_top) * line;
            conv_copy_x(s, x + ((image + i) * height + r) * width * from + w * 32,
                        from - w * 32 < 32 ? 0xffff : 0xffffffff, one, one + block);
          }
        for (int64_t r = top; r < end; r++)
          for (int64_t n = n_first; n < n_last; n++)
            conv_copy_slope(s, slope + ((image + i) * rows + r) * columns * to + n * 32,
                            copied_slope + (n - n_first) * slope_block + i * slope_image +
                                (r - top) * slope_line,
                            total + (n - n_first) * 32);
      }
      /* What the next chunk reads is fetched meanwhile, a part of it for each tile. */
      const int64_t calls = (last - first) * 3, halves = (calls + 1) / 2;
      const char *next_x = (const char *)(x + ((image + group - 1) * height + x_end) * width * from);
      const char *next_slope = (const char *)(slope + ((image + group - 1) * rows + end) * columns * to);
      const int64_t part_x = (x_end - x_top) * count * width * from * 2 / halves;
      const int64_t part_slope = (end - top) * count * columns * to * 2 / halves;
      for (int64_t t = first; t < last; t++)
        for (int64_t ky = 0; ky < 3; ky++) {
          const int64_t call = (t - first) * 3 + ky;
          const int of_x = call < halves;
          const char *next = of_x ? next_x + call * part_x : next_slope + (call - halves) * part_slope;
          /* The output's rows whose input row lies within the image. */
          const int64_t inside = height < ky ? 0 : (height - ky) / stride + 1;
          const int64_t low = ky == 0 && top == 0, past = end < inside ? end : inside;
          if (top + low >= past) continue;
          const conv_four f = conv_input(t % blocks, from);
          const uint16_t *a = copied + f.block * block + f.place +
                              ((top + low) * stride + ky - 1 - x_top) * line;
          const uint16_t *b = copied_slope + (t / blocks - n_first) * slope_block + low * slope_line;
          conv_tile(s, (const int32_t *)a, b, count, x_image / 2, slope_image, past - top - low, next,
                    of_x ? part_x : part_slope, kept + ((t - first) * 3 + ky) * 24 * 16);
        }
    }
  /* Lanes of a vector are its channels in the order in which unpacking left them. */
  for (int64_t t = first; t < last; t++) {
    const conv_four f = conv_input(t % blocks, from);
    const float *sum = kept + (t - first) * 3 * 24 * 16;
    for (int64_t k = 0; k < 9; k++)
      for (int64_t c = 0; c < 4; c++)
        for (int64_t half = 0; half < 2; half++)
          for (int64_t j = 0; j < 16; j++, sum++) {
            int64_t channel = t / blocks * 32 + j / 4 * 8 + half * 4 + j % 4;
            out[(channel * 9 + k) * from + f.channel + c] = *sum;
          }
  }
  if (of_bias)
    for (int64_t n = n_first; n < n_last; n++)
      if (first <= n * blocks && n * blocks < last) /* once, of whoever has the block's first tile */
        for (int64_t j = 0; j < 32; j++)
          of_bias[n * 32 + j % 16 / 4 * 8 + j / 16 * 4 + j % 4] = total[(n - n_first) * 32 + j];
  free(memory);
  return 0;
}
#undef CHUNK_PAIRS
#undef X_PAIR
#undef SLOPE_PAIR

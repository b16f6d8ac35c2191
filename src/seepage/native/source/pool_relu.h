/* Maximum over 2×2 windows, then ReLU, of images (B, H, W, C) whose channels lie side by side.
 *
 * out (B, H/2, W/2, C) = max(0, max of the window); place holds which of its four values that was,
 * row by row, or 4 where none passes a gradient on (the maximum is 0 or less). As in torch's own pair
 * of layers the first of equal values wins, NaN beats everything and passes its gradient, and what is
 * left over by an odd side belongs to no window. [first, last) are images.
 *
 * Included once for each type: TYPED gives a name its suffix, VALUE is the type, TO_FLOAT and FROM_FLOAT exact.
 */
static inline void TYPED(window)(const VALUE *restrict top, const VALUE *restrict low,
                                 int64_t channels, const int tell, VALUE *restrict to,
                                 uint8_t *restrict which) {
  for (int64_t c = 0; c < channels; c++) {
    float most = TO_FLOAT(top[c]);
    float b = TO_FLOAT(top[channels + c]);
    float d = TO_FLOAT(low[c]);
    float e = TO_FLOAT(low[channels + c]);
    int32_t k = 0, take = (b > most) | (b != b);
    most = take ? b : most;
    k = take ? 1 : k;
    take = (d > most) | (d != d);
    most = take ? d : most;
    k = take ? 2 : k;
    take = (e > most) | (e != e);
    most = take ? e : most;
    k = take ? 3 : k;
    int32_t none = most <= 0.0f;
    to[c] = FROM_FLOAT(none ? 0.0f : most);
    if (tell) which[c] = (uint8_t)(none ? 4 : k);
  }
}

/* place may be NULL, where nobody asks for gradients. */
EXPORTED int TYPED(pool_relu)(const VALUE *restrict x, int64_t height, int64_t width,
                              int64_t channels, int64_t first, int64_t last, VALUE *restrict out,
                              uint8_t *restrict place) {
  int64_t rows = height / 2, columns = width / 2;
  for (int64_t at = first * rows; at < last * rows; at++) {
    const VALUE *top = x + ((at / rows) * height + 2 * (at % rows)) * width * channels;
    const VALUE *low = top + width * channels;
    for (int64_t j = 0; j < columns; j++) {
      int64_t here = (at * columns + j) * channels, there = 2 * j * channels;
      if (place)
        TYPED(window)(top + there, low + there, channels, 1, out + here, place + here);
      else
        TYPED(window)(top + there, low + there, channels, 0, out + here, NULL);
    }
  }
  return 0;
}

static inline void TYPED(window_back)(const VALUE *restrict from, const uint8_t *restrict which,
                                      int64_t channels, VALUE *restrict a, VALUE *restrict b,
                                      VALUE *restrict d, VALUE *restrict e) {
  for (int64_t c = 0; c < channels; c++) {
    VALUE slope = from[c];
    uint8_t k = which[c];
    a[c] = k == 0 ? slope : (VALUE)0;
    b[c] = k == 1 ? slope : (VALUE)0;
    d[c] = k == 2 ? slope : (VALUE)0;
    e[c] = k == 3 ? slope : (VALUE)0;
  }
}

/* The gradient at the images of the gradient at the output: every value is written. */
EXPORTED int TYPED(pool_relu_back)(const VALUE *restrict slope, const uint8_t *restrict place,
                                         int64_t height, int64_t width, int64_t channels,
                                         int64_t first, int64_t last, VALUE *restrict out) {
  int64_t rows = height / 2, columns = width / 2, line = width * channels;
  for (int64_t i = first; i < last; i++) {
    VALUE *image = out + i * height * line;
    for (int64_t r = 0; r < rows; r++) {
      VALUE *top = image + 2 * r * line;
      VALUE *low = top + line;
      const VALUE *from = slope + (i * rows + r) * columns * channels;
      const uint8_t *which = place + (i * rows + r) * columns * channels;
      for (int64_t j = 0; j < columns; j++) {
        VALUE *a = top + 2 * j * channels, *d = low + 2 * j * channels;
        TYPED(window_back)(from + j * channels, which + j * channels, channels, a, a + channels, d,
                           d + channels);
      }
      for (int64_t c = 2 * columns * channels; c < line; c++) top[c] = low[c] = (VALUE)0;
    }
    if (height % 2) memset(image + 2 * rows * line, 0, (size_t)line * sizeof(VALUE));
  }
  return 0;
}

/* Of values at the images, those at the places: the transpose of the gradient, 0 where there is none. */
EXPORTED int TYPED(pool_relu_pick)(const VALUE *restrict x, const uint8_t *restrict place,
                                         int64_t height, int64_t width, int64_t channels,
                                         int64_t first, int64_t last, VALUE *restrict out) {
  int64_t rows = height / 2, columns = width / 2, line = width * channels;
  for (int64_t i = first; i < last; i++)
    for (int64_t r = 0; r < rows; r++) {
      const VALUE *top = x + (i * height + 2 * r) * line;
      int64_t at = (i * rows + r) * columns * channels;
      for (int64_t j = 0; j < columns; j++)
        for (int64_t c = 0; c < channels; c++, at++) {
          int64_t k = place[at], here = 2 * j * channels + c;
          here += (k & 1 ? channels : 0) + (k & 2 ? line : 0);
          out[at] = k < 4 ? top[here] : (VALUE)0;
        }
    }
  return 0;
}

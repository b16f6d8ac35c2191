/* Ranks of absolute values over rows, column by column: gap (U, N) -> twice (U, N), twice the
 * mid-rank of |gap| among the U of its column, from 2: 1 + #{smaller} + #{not larger}, itself among
 * the latter. 0 for NaN, which no comparison counts. Columns lie side by side in vectors; comparing
 * all pairs beats sorting up to some two hundred rows. */
#define ABREAST 64

EXPORTED int LEVEL(size_ranks)(const double *restrict gap, int64_t rows, int64_t columns,
                               int64_t first, int64_t last, int32_t *restrict twice) {
  double *size = malloc((size_t)rows * ABREAST * sizeof(double));
  if (rows && !size) return 1;
  for (int64_t begin = first; begin < last; begin += ABREAST) {
    int64_t width = last - begin < ABREAST ? last - begin : ABREAST;
    for (int64_t i = 0; i < rows; i++)
      for (int64_t j = 0; j < ABREAST; j++) /* past the end: a value that nobody reads */
        size[i * ABREAST + j] = j < width ? fabs(gap[i * columns + begin + j]) : 0.0;
    for (int64_t i = 0; i < rows; i++) {
      int64_t count[ABREAST] = {0};
      const double *mine = size + i * ABREAST;
      for (int64_t k = 0; k < rows; k++) {
        const double *other = size + k * ABREAST;
        for (int64_t j = 0; j < ABREAST; j++)
          count[j] += (other[j] < mine[j]) + (other[j] <= mine[j]);
      }
      for (int64_t j = 0; j < width; j++)
        twice[i * columns + begin + j] = mine[j] == mine[j] ? (int32_t)count[j] + 1 : 0;
    }
  }
  free(size);
  return 0;
}

#undef ABREAST

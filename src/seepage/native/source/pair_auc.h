/* Mann-Whitney over models, sample by sample: scores (R, N), member (R, N) -> out (N,).
 *
 * Counting the IN × OUT pairs beats a sort up to a few hundred models, and ties need no care.
 */
#define TOGETHER 64 /* samples that are sorted into IN and OUT at once, as they lie in memory */

/* Samples [begin, begin + width) by side, each in the order of models:
 * -> inside, outside (width, R), n_in, n_out (width,). */
static void LEVEL(by_side)(const double *restrict scores, const uint8_t *restrict member,
                           int64_t models, int64_t samples, int64_t begin, int64_t width,
                           double *restrict inside, double *restrict outside,
                           int64_t *restrict n_in, int64_t *restrict n_out) {
  for (int64_t j = 0; j < width; j++) n_in[j] = n_out[j] = 0;
  for (int64_t r = 0; r < models; r++)
    for (int64_t j = 0; j < width; j++) {
      int64_t at = r * samples + begin + j;
      if (member[at])
        inside[j * models + n_in[j]++] = scores[at];
      else
        outside[j * models + n_out[j]++] = scores[at];
    }
}

EXPORTED int LEVEL(pair_auc)(const double *restrict scores, const uint8_t *restrict member,
                             int64_t models, int64_t samples, int64_t first, int64_t last,
                             double *restrict out) {
  double *inside = malloc(2 * TOGETHER * (size_t)models * sizeof(double));
  if (!inside) return 1;
  double *outside = inside + TOGETHER * models;
  int64_t n_in[TOGETHER], n_out[TOGETHER];
  for (int64_t begin = first; begin < last; begin += TOGETHER) {
    int64_t width = last - begin < TOGETHER ? last - begin : TOGETHER;
    LEVEL(by_side)(scores, member, models, samples, begin, width, inside, outside, n_in, n_out);
    for (int64_t j = 0; j < width; j++) {
      int64_t twice = 0;
      for (int64_t p = 0; p < n_in[j]; p++) {
        double x = inside[j * models + p];
        const double *other = outside + j * models;
        for (int64_t q = 0; q < n_out[j]; q++) twice += (x > other[q]) + (x >= other[q]);
      }
      double pairs = (double)n_in[j] * (double)n_out[j];
      out[begin + j] = pairs > 0 ? (double)twice / (2.0 * pairs) : NAN;
    }
  }
  free(inside);
  return 0;
}

/* Sum of (placement − area)² over one side, where a placement is half of `twice` (n,) over the size
 * of the other side. */
static double LEVEL(away)(const int64_t *restrict twice, int64_t n, double others, double area) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++) {
    double d = 0.5 * (double)twice[i] / others - area;
    sum += d * d;
  }
  return sum;
}

/* The same AUC, and both parts of DeLong's variance: -> area (N,), spread (2, N), 0 where a side is
 * missing. */
EXPORTED int LEVEL(pair_spread)(const double *restrict scores, const uint8_t *restrict member,
                                int64_t models, int64_t samples, int64_t first, int64_t last,
                                double *restrict area, double *restrict spread) {
  double *inside = malloc((2 * TOGETHER + 2) * (size_t)models * sizeof(double));
  if (!inside) return 1;
  double *outside = inside + TOGETHER * models;
  int64_t *won = (int64_t *)(outside + TOGETHER * models), *lost = won + models;
  int64_t n_in[TOGETHER], n_out[TOGETHER];
  for (int64_t begin = first; begin < last; begin += TOGETHER) {
    int64_t width = last - begin < TOGETHER ? last - begin : TOGETHER;
    LEVEL(by_side)(scores, member, models, samples, begin, width, inside, outside, n_in, n_out);
    for (int64_t j = 0; j < width; j++) {
      double n = (double)n_in[j], m = (double)n_out[j];
      const double *own = inside + j * models, *other = outside + j * models;
      int64_t total = 0;
      for (int64_t q = 0; q < n_out[j]; q++) lost[q] = 0;
      for (int64_t p = 0; p < n_in[j]; p++) {
        double x = own[p];
        int64_t sum = 0;
        for (int64_t q = 0; q < n_out[j]; q++) {
          int64_t here = (x > other[q]) + (x >= other[q]);
          sum += here;
          lost[q] += here;
        }
        won[p] = sum;
        total += sum;
      }
      double u = n * m > 0 ? 0.5 * (double)total / (n * m) : NAN;
      area[begin + j] = u;
      if (!(n * m > 0)) continue;
      spread[begin + j] = LEVEL(away)(won, n_in[j], m, u) / ((n > 1 ? n - 1 : 1) * n);
      spread[samples + begin + j] = LEVEL(away)(lost, n_out[j], n, u) / ((m > 1 ? m - 1 : 1) * m);
    }
  }
  free(inside);
  return 0;
}

#undef TOGETHER

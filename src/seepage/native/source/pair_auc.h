/* Mann-Whitney over models, sample by sample: scores (R, N), member (R, N) -> out (N,).
 *
 * Counting the IN × OUT pairs beats a sort up to a few hundred models, and ties need no care.
 */
#define TOGETHER 64 /* samples that are sorted into IN and OUT at once, as they lie in memory */

EXPORTED int LEVEL(pair_auc)(const double *restrict scores, const uint8_t *restrict member,
                             int64_t models, int64_t samples, int64_t first, int64_t last,
                             double *restrict out) {
  double *inside = malloc(2 * TOGETHER * (size_t)models * sizeof(double));
  if (!inside) return 1;
  double *outside = inside + TOGETHER * models;
  for (int64_t begin = first; begin < last; begin += TOGETHER) {
    int64_t width = last - begin < TOGETHER ? last - begin : TOGETHER;
    int64_t n_in[TOGETHER] = {0}, n_out[TOGETHER] = {0};
    for (int64_t r = 0; r < models; r++)
      for (int64_t j = 0; j < width; j++) {
        int64_t at = r * samples + begin + j;
        if (member[at])
          inside[j * models + n_in[j]++] = scores[at];
        else
          outside[j * models + n_out[j]++] = scores[at];
      }
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

#undef TOGETHER

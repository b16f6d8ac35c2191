/* Medians of both groups for every set left out, included once for each type of signal. */

/* Median of a sorted group (n,) without those at the first `many` of the ascending ranks. */
static double TYPED(median_without)(const double *sorted, int64_t n, const int64_t *ranks,
                                    int64_t many) {
  int64_t left = n - many;
  if (left <= 0) return 0.0;
  double total = 0.0;
  for (int64_t half = 0; half < 2; half++) {
    int64_t at = (left - 1 + half) / 2;
    for (int64_t i = 0; i < many; i++) at += at >= ranks[i];
    total += sorted[at];
  }
  return total / 2.0;
}

/* Of a filled block: out (2, E, LANES), 1 = IN. */
static int TYPED(medians)(const TYPED(block) * b, const int64_t *restrict drop, int64_t sets,
                          int64_t room, double *restrict out) {
  int64_t models = b->models;
  size_t rows = (size_t)models * SORTED * sizeof(double);
  double *keys = malloc(2 * rows + (size_t)(5 * models + 2 * room) * sizeof(double));
  if (!keys) return 1;
  int64_t *at = (int64_t *)(keys + models * SORTED);
  double *sorted[2] = {(double *)(at + models * SORTED), NULL};
  sorted[1] = sorted[0] + models;
  int64_t *rank = (int64_t *)(sorted[1] + models), *group = rank + models;
  int64_t *gone[2] = {group + models, group + models + room};
  for (int64_t lane = 0; lane < LANES; lane += SORTED) {
    for (int64_t r = 0; r < models; r++)
      for (int64_t j = 0; j < SORTED; j++) {
        keys[r * SORTED + j] = b->x[r * LANES + lane + j];
        at[r * SORTED + j] = r;
      }
    sort_lanes(keys, at, models);
    for (int64_t j = 0; j < SORTED; j++) {
      int64_t count[2] = {0, 0};
      for (int64_t i = 0; i < models; i++) {
        int64_t r = at[i * SORTED + j], g = b->k[r * LANES + lane + j] > 0;
        sorted[g][count[g]] = keys[i * SORTED + j];
        group[r] = g;
        rank[r] = count[g]++;
      }
      for (int64_t e = 0; e < sets; e++) {
        int64_t many[2] = {0, 0};
        for (int64_t i = 0; i < room && drop[e * room + i] >= 0; i++) {
          int64_t r = drop[e * room + i], g = group[r], place = many[g]++;
          for (; place > 0 && gone[g][place - 1] > rank[r]; place--)
            gone[g][place] = gone[g][place - 1];
          gone[g][place] = rank[r];
        }
        for (int g = 0; g < 2; g++)
          out[(g * sets + e) * LANES + lane + j] =
              TYPED(median_without)(sorted[g], count[g], gone[g], many[g]);
      }
    }
  }
  free(keys);
  return 0;
}

/* Where the target's loss stands among those of OUT references, included once for each type of signal.
 *
 * Interpolated empirical CDF of each sample's OUT values at the target's value: out (R, N). Tied
 * references share their mean rank; `low` and `high` stand for rank 0 and n + 1. One view. The models
 * of a sample are sorted once; a target's references are all OUT models but the few it does without,
 * which are told by their place in that order.
 */

/* How many of the ascending places lie in [from, to). */
static inline int64_t TYPED(within)(const int64_t *places, int64_t many, int64_t from, int64_t to) {
  int64_t count = 0;
  for (int64_t i = 0; i < many; i++) count += places[i] >= from && places[i] < to;
  return count;
}

EXPORTED int TYPED(empirical_all)(const SIGNAL *restrict signal, const uint8_t *restrict member,
                                  int64_t models, int64_t samples, const int64_t *restrict drop,
                                  int64_t sets, int64_t room, const int64_t *restrict order,
                                  const int64_t *restrict begin, double low, double high,
                                  int64_t first, int64_t last, double *restrict out) {
  size_t block = (size_t)models * SORTED;
  double *keys = malloc((block * 3 + (size_t)models * 8 + (size_t)room) * sizeof(double));
  if (!keys) return 1;
  int64_t *at = (int64_t *)(keys + block);
  double *found = (double *)(at + block), *outs = found + block;
  /* By place among the OUT models: where ties with it start and stop. By model: where its ties start
   * and stop, and its place, −1 where it is IN. */
  int64_t *start = (int64_t *)(outs + models), *stop = start + models;
  int64_t *from = stop + models, *to = from + models, *place = to + models, *gone = place + models;
  double *value = (double *)(gone + room);
  for (int64_t block_at = first; block_at < last; block_at += SORTED) {
    int64_t width = last - block_at < SORTED ? last - block_at : SORTED;
    for (int64_t r = 0; r < models; r++)
      for (int64_t j = 0; j < SORTED; j++) {
        int64_t lane = j < width ? j : width - 1;
        keys[r * SORTED + j] = signal[r * samples + block_at + lane];
        at[r * SORTED + j] = r;
      }
    sort_lanes(keys, at, models);
    for (int64_t j = 0; j < width; j++) {
      const uint8_t *restrict there = member + block_at + j;
      int64_t n = 0;
      for (int64_t i = 0, next; i < models; i = next) {
        double here = keys[i * SORTED + j];
        int64_t before = n;
        for (next = i; next < models && keys[next * SORTED + j] == here; next++) {
          int64_t r = at[next * SORTED + j];
          value[r] = here;
          from[r] = before;
          place[r] = -1;
          if (!there[r * samples]) {
            outs[n] = here;
            place[r] = n++;
          }
        }
        if (next == i) { /* no number: equal to nothing, itself included */
          int64_t r = at[i * SORTED + j];
          value[r] = here, from[r] = n, place[r] = -1, next++;
        }
        for (int64_t m = before; m < n; m++) start[m] = before, stop[m] = n;
        for (int64_t m = i; m < next; m++) to[at[m * SORTED + j]] = n;
      }
      for (int64_t e = 0; e < sets; e++) {
        int64_t many = 0;
        for (int64_t i = 0; i < room && drop[e * room + i] >= 0; i++)
          if (place[drop[e * room + i]] >= 0) gone[many++] = place[drop[e * room + i]];
        const int64_t left = n - many;
        for (int64_t i = begin[e]; i < begin[e + 1]; i++) {
          const int64_t t = order[i];
          const int64_t below = from[t] - TYPED(within)(gone, many, 0, from[t]);
          const int64_t equal = to[t] - from[t] - TYPED(within)(gone, many, from[t], to[t]);
          double rank;
          if (equal > 0) {
            rank = (double)below + 0.5 * (double)(equal + 1);
          } else {
            /* The nearest references that are left on either side, with how many tie there. */
            double lower = low, upper = high, lower_rank = 0.0, upper_rank = (double)left + 1.0;
            for (int64_t m = from[t] - 1, ties; m >= 0; m = start[m] - 1) {
              ties = stop[m] - start[m] - TYPED(within)(gone, many, start[m], stop[m]);
              if (ties <= 0) continue;
              lower = outs[m];
              lower_rank = (double)below - 0.5 * (double)(ties - 1);
              break;
            }
            for (int64_t m = to[t], ties; m < n; m = stop[m]) {
              ties = stop[m] - start[m] - TYPED(within)(gone, many, start[m], stop[m]);
              if (ties <= 0) continue;
              upper = outs[m];
              upper_rank = (double)(below + 1) + 0.5 * (double)(ties - 1);
              break;
            }
            if (value[t] <= lower)
              rank = lower_rank;
            else if (value[t] >= upper)
              rank = upper_rank;
            else
              rank = lower_rank +
                     (value[t] - lower) / (upper - lower) * (upper_rank - lower_rank);
          }
          found[t * SORTED + j] = rank / (double)(left + 1);
        }
      }
    }
    for (int64_t r = 0; r < models; r++)
      for (int64_t j = 0; j < width; j++) out[r * samples + block_at + j] = found[r * SORTED + j];
  }
  free(keys);
  return 0;
}

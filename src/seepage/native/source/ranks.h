/* Ranks of values in a sample, by one sort and one pass over both. */

/* Memory for sorting `count` values: two rows of items and the tally of digits. */
static uint64_t *new_items(int64_t count) {
  return malloc((size_t)(2 * count) * sizeof(uint64_t) + 3 * ROOM * sizeof(uint32_t));
}

/* Positions of x (count,) in ascending order, of equal values the first ones first: order (count,). */
EXPORTED int LEVEL(order_of)(const double *restrict x, int64_t count, int64_t *restrict order) {
  uint64_t *items = new_items(count);
  if (!items) return 1;
  uint64_t *sorted = ascending(x, count, items, items + count, (uint32_t *)(items + 2 * count));
  for (int64_t i = 0; i < count; i++) order[i] = (int64_t)(sorted[i] & 0xFFFFFFFFu);
  free(items);
  return 0;
}

/* Row by row of values (·, count), the share of a sample at or below value + slack, in place of the
 * values. The sample is the row itself where `whole`, else weight (count,) times each of its values.
 */
EXPORTED int LEVEL(shares_below)(double *restrict values, int64_t count, double slack, int64_t whole,
                                 const int64_t *restrict weight, int64_t first, int64_t last) {
  uint64_t *items = new_items(count);
  double *ordered = malloc((size_t)count * sizeof(double));
  if (!items || !ordered) {
    free(items);
    free(ordered);
    return 1;
  }
  int64_t size = whole ? count : 0;
  for (int64_t i = 0; i < count && !whole; i++) size += weight[i];
  for (int64_t r = first; r < last; r++) {
    double *restrict row = values + r * count;
    uint64_t *sorted = ascending(row, count, items, items + count, (uint32_t *)(items + 2 * count));
    for (int64_t i = 0; i < count; i++) ordered[i] = row[sorted[i] & 0xFFFFFFFFu];
    int64_t at = 0, below = 0;
    for (int64_t i = 0; i < count; i++) {
      double most = ordered[i] + slack;
      for (; at < count && ordered[at] <= most; at++)
        below += whole ? 1 : weight[sorted[at] & 0xFFFFFFFFu];
      row[sorted[i] & 0xFFFFFFFFu] = (double)below / (double)size;
    }
  }
  free(items);
  free(ordered);
  return 0;
}

/* Interpolated CDF of an ascending sample (size,) at x (count,), order its ascending order: out (count,).
 *
 * Ties share their mean rank; `low` and `high` stand for rank 0 and size + 1.
 */
EXPORTED int LEVEL(merged_cdf)(const double *restrict sample, int64_t size,
                               const int64_t *restrict order, const double *restrict x,
                               int64_t count, double low, double high, double *restrict out) {
  /* How many of the sample lie below the value, and of the values next to that place, the mean ranks. */
  int64_t at = -1;
  double lower = low, upper = high, lower_rank = 0.0, upper_rank = (double)size + 1.0;
  for (int64_t i = 0; i < count; i++) {
    double value = x[order[i]];
    int64_t before = at;
    at = at < 0 ? 0 : at;
    while (at < size && sample[at] < value) at++;
    if (at != before) {
      int64_t start = at - 1, end = at + 1;
      while (start > 0 && sample[start - 1] == sample[at - 1]) start--;
      while (end < size && sample[end] == sample[at]) end++;
      lower = at > 0 ? sample[at - 1] : low;
      lower_rank = at > 0 ? 0.5 * (double)(start + 1 + at) : 0.0;
      upper = at < size ? sample[at] : high;
      upper_rank = at < size ? 0.5 * (double)(at + 1 + end) : (double)size + 1.0;
    }
    double rank;
    if (at < size && value == upper)
      rank = upper_rank;
    else if (value <= lower)
      rank = lower_rank;
    else if (value >= upper)
      rank = upper_rank;
    else
      rank = lower_rank + (value - lower) / (upper - lower) * (upper_rank - lower_rank);
    out[order[i]] = rank / (double)(size + 1);
  }
  return 0;
}

/* Row by row of values (·, count), none of them NaN, twice the number below each and once the number
 * of its ties, itself included, over twice the count: out (·, count).
 */
EXPORTED int LEVEL(middle_ranks)(const double *restrict values, int64_t count, int64_t first,
                                 int64_t last, double *restrict out) {
  uint64_t *items = new_items(count);
  if (!items) return 1;
  for (int64_t r = first; r < last; r++) {
    const double *restrict row = values + r * count;
    double *restrict found = out + r * count;
    uint64_t *sorted = ascending(row, count, items, items + count, (uint32_t *)(items + 2 * count));
    for (int64_t begin = 0, end; begin < count; begin = end) {
      double here = row[sorted[begin] & 0xFFFFFFFFu];
      for (end = begin + 1; end < count && row[sorted[end] & 0xFFFFFFFFu] == here;) end++;
      double rank = (double)(begin + end) / (double)(2 * count);
      for (int64_t i = begin; i < end; i++) found[sorted[i] & 0xFFFFFFFFu] = rank;
    }
  }
  free(items);
  return 0;
}

/* Row by row of scores and membership (·, count), Mann-Whitney with ties: out (·,), NaN where one
 * side is missing.
 */
EXPORTED int LEVEL(areas)(const double *restrict scores, const uint8_t *restrict member,
                          int64_t count, int64_t first, int64_t last, double *restrict out) {
  uint64_t *items = new_items(count);
  if (!items) return 1;
  for (int64_t r = first; r < last; r++) {
    const double *restrict row = scores + r * count;
    const uint8_t *restrict inside = member + r * count;
    uint64_t *sorted = ascending(row, count, items, items + count, (uint32_t *)(items + 2 * count));
    int64_t in_below = 0, out_below = 0, twice = 0;
    for (int64_t begin = 0, end; begin < count; begin = end) {
      double here = row[sorted[begin] & 0xFFFFFFFFu];
      int64_t in_here = 0;
      for (end = begin; end == begin || (end < count && row[sorted[end] & 0xFFFFFFFFu] == here);)
        in_here += inside[sorted[end++] & 0xFFFFFFFFu];
      twice += in_here * (2 * out_below + end - begin - in_here);
      in_below += in_here;
      out_below += end - begin - in_here;
    }
    double pairs = (double)in_below * (double)out_below;
    out[r] = pairs > 0.0 ? (double)twice / (2.0 * pairs) : NAN;
  }
  free(items);
  return 0;
}

/* Sorting a few values in every lane at once, and many values by their digits. */

/* Swap rows p and q of keys (·, SORTED) and `at` in the lanes where they stand the wrong way. */
static inline void exchange(double *restrict low, double *restrict high, int64_t *restrict at_low,
                            int64_t *restrict at_high) {
  for (int64_t j = 0; j < SORTED; j++) {
    double u = low[j], v = high[j];
    int64_t a = at_low[j], b = at_high[j];
    int wrong = u > v;
    low[j] = wrong ? v : u;
    high[j] = wrong ? u : v;
    at_low[j] = wrong ? b : a;
    at_high[j] = wrong ? a : b;
  }
}

/* Rows of keys (count, SORTED) ascending in every lane, and `at` with them, by merge exchange (Knuth,
 * The Art of Computer Programming, 5.2.2, algorithm M). Of equal keys either may come first.
 */
static void sort_lanes(double *keys, int64_t *at, int64_t count) {
  int64_t top = 1;
  while (2 * top < count) top *= 2;
  for (int64_t p = top; p > 0 && count > 1; p /= 2) {
    int64_t q = top, rest = 0, d = p;
    for (;;) {
      for (int64_t i = 0; i < count - d; i++)
        if ((i & p) == rest)
          exchange(keys + i * SORTED, keys + (i + d) * SORTED, at + i * SORTED,
                   at + (i + d) * SORTED);
      if (q == p) break;
      d = q - p;
      q /= 2;
      rest = p;
    }
  }
}

#define DIGITS 11
#define ROOM (1 << DIGITS)

/* Items (count,) ascending by their upper halves, stable; `spare` as large, `tally` 3 · ROOM. The
 * sorted items lie in what is returned, one of both.
 */
static uint64_t *by_digits(uint64_t *restrict items, uint64_t *restrict spare, int64_t count,
                           uint32_t *restrict tally) {
  memset(tally, 0, 3 * ROOM * sizeof *tally);
  for (int64_t i = 0; i < count; i++) {
    uint64_t key = items[i] >> 32;
    tally[key & (ROOM - 1)]++;
    tally[ROOM + ((key >> DIGITS) & (ROOM - 1))]++;
    tally[2 * ROOM + (key >> 2 * DIGITS)]++;
  }
  uint64_t *from = items, *to = spare;
  for (int digit = 0; digit < 3; digit++) {
    uint32_t *restrict place = tally + digit * ROOM, total = 0;
    int shift = 32 + digit * DIGITS;
    if (count && place[(from[0] >> shift) & (ROOM - 1)] == count) continue; /* all alike */
    for (int64_t i = 0; i < ROOM; i++) {
      uint32_t here = place[i];
      place[i] = total;
      total += here;
    }
    for (int64_t i = 0; i < count; i++) to[place[(from[i] >> shift) & (ROOM - 1)]++] = from[i];
    uint64_t *other = from;
    from = to;
    to = other;
  }
  return from;
}

/* The bits of a double as a whole number in the same order; −0 is 0. */
static inline uint64_t ordered_bits(double x) {
  uint64_t bits = bits_of(x + 0.0);
  return bits ^ ((0 - (bits >> 63)) | UINT64_C(0x8000000000000000));
}

/* Positions of x (count,) in ascending order, in the lower halves of what is returned, `items` or
 * `spare` (count,). The upper 32 bits of the values are sorted first; runs that agree in them, by
 * the lower ones.
 */
static uint64_t *ascending(const double *restrict x, int64_t count, uint64_t *items,
                           uint64_t *spare, uint32_t *tally) {
  const uint64_t upper = UINT64_C(0xFFFFFFFF00000000);
  for (int64_t i = 0; i < count; i++) items[i] = (ordered_bits(x[i]) & upper) | (uint64_t)i;
  uint64_t *sorted = by_digits(items, spare, count, tally);
  uint64_t *other = sorted == items ? spare : items;
  for (int64_t begin = 0, end; begin < count; begin = end) {
    for (end = begin + 1; end < count && !((sorted[begin] ^ sorted[end]) & upper);) end++;
    if (end - begin == 1) continue;
    /* The upper halves have served; the lower bits of the values take their place. */
    for (int64_t i = begin; i < end; i++) {
      uint64_t at = sorted[i] & ~upper;
      sorted[i] = (ordered_bits(x[at]) << 32) | at;
    }
    if (end - begin > 64) {
      uint64_t *found = by_digits(sorted + begin, other + begin, end - begin, tally);
      if (found != sorted + begin)
        memcpy(sorted + begin, found, (size_t)(end - begin) * sizeof *found);
      continue;
    }
    for (int64_t i = begin + 1; i < end; i++) {
      uint64_t item = sorted[i];
      int64_t place = i;
      for (; place > begin && sorted[place - 1] > item; place--) sorted[place] = sorted[place - 1];
      sorted[place] = item;
    }
  }
  return sorted;
}

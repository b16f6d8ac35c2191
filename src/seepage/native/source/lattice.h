/* Replicates of the plane: each keeps some of P packed rows of decisions and counts them by sample.
 *
 * Rows are words of 64 samples, STRIP words at a time; in which order samples lie in a word is
 * immaterial, as only sums over samples leave. A count is held as bits of its binary digits, one
 * word per digit and 64 samples, and rows are added by full adders on whole words.
 */
#define STRIP 32                 /* words that are added at once */
#define SAMPLES (64 * STRIP)     /* samples in them */
#define DIGITS 17                /* of a count of at most 65,535, and the last carry */

/* a + b + c of every bit: the sum into a, the carry into carry. */
static inline void LEVEL(full_add)(uint64_t *restrict a, const uint64_t *restrict b,
                                   const uint64_t *restrict c, uint64_t *restrict carry) {
  for (int w = 0; w < STRIP; w++) {
    uint64_t x = a[w] ^ b[w];
    carry[w] = (a[w] & b[w]) | (x & c[w]);
    a[w] = x ^ c[w];
  }
}

/* Digits of how many of the rows, `chosen` (m,) of `rows` with `words` words each, have a bit at
 * every sample of the strip at word `at` -> digit (DIGITS, STRIP). flip: counts missing bits. */
static void LEVEL(count_rows)(const uint64_t *rows, int64_t words, int64_t at,
                              const int64_t *chosen, int64_t m, uint64_t flip,
                              uint64_t digit[DIGITS][STRIP], uint64_t waiting[DIGITS][STRIP],
                              int *has) {
  uint64_t carry[STRIP], next[STRIP];
  for (int64_t i = 0; i < m; i++) {
    const uint64_t *row = rows + chosen[i] * words + at;
    for (int w = 0; w < STRIP; w++) carry[w] = row[w] ^ flip;
    for (int d = 0; d < DIGITS; d++) {
      if (!has[d]) { /* two of a kind are added at once */
        memcpy(waiting[d], carry, sizeof carry);
        has[d] = 1;
        break;
      }
      has[d] = 0;
      LEVEL(full_add)(digit[d], waiting[d], carry, next);
      memcpy(carry, next, sizeof carry);
    }
  }
}

/* What still waits is added: a carry may run through all digits. */
static void LEVEL(settle)(uint64_t digit[DIGITS][STRIP], uint64_t waiting[DIGITS][STRIP],
                          const int *has) {
  static const uint64_t nothing[STRIP] = {0};
  uint64_t carry[STRIP], next[STRIP];
  memset(carry, 0, sizeof carry);
  for (int d = 0; d < DIGITS; d++) {
    LEVEL(full_add)(digit[d], has[d] ? waiting[d] : nothing, carry, next);
    memcpy(carry, next, sizeof carry);
  }
}

/* Eight words of digits as eight counts a word: bytes of `digit` from `first` -> byte counts. */
static inline void LEVEL(as_bytes)(uint64_t digit[DIGITS][STRIP], int first, uint64_t *out) {
  for (int k = 0; k < 8 * STRIP; k++) out[k] = 0;
  for (int d = 0; d < 8 && first + d < DIGITS; d++) {
    const uint8_t *bytes = (const uint8_t *)digit[first + d];
    for (int k = 0; k < 8 * STRIP; k++) out[k] |= (uint64_t)bytes[k] << (8 * d);
  }
  for (int k = 0; k < 8 * STRIP; k++) { /* an 8 by 8 bit matrix, transposed */
    uint64_t x = out[k], t;
    t = (x ^ (x >> 7)) & 0x00AA00AA00AA00AAULL;
    x = x ^ t ^ (t << 7);
    t = (x ^ (x >> 14)) & 0x0000CCCC0000CCCCULL;
    x = x ^ t ^ (t << 14);
    t = (x ^ (x >> 28)) & 0x00000000F0F0F0F0ULL;
    out[k] = x ^ t ^ (t << 28);
  }
}

/* Counts of a strip over the chosen rows -> count (SAMPLES,). */
static void LEVEL(counts)(const uint64_t *rows, int64_t words, int64_t at, const int64_t *chosen,
                          int64_t m, int32_t *restrict count) {
  uint64_t digit[DIGITS][STRIP], waiting[DIGITS][STRIP], bytes[8 * STRIP];
  int has[DIGITS] = {0};
  memset(digit, 0, sizeof digit);
  LEVEL(count_rows)(rows, words, at, chosen, m, 0, digit, waiting, has);
  LEVEL(settle)(digit, waiting, has);
  LEVEL(as_bytes)(digit, 0, bytes);
  const uint8_t *low = (const uint8_t *)bytes;
  for (int i = 0; i < SAMPLES; i++) count[i] = low[i];
  for (int first = 8; first < DIGITS && m >> first; first += 8) {
    LEVEL(as_bytes)(digit, first, bytes);
    for (int i = 0; i < SAMPLES; i++) count[i] |= (int32_t)low[i] << first;
  }
}

/* How many of a strip's values equal k. */
static ALONE int32_t LEVEL(equal_to)(const int32_t *restrict values, int32_t k) {
  int32_t sum = 0;
  for (int i = 0; i < SAMPLES; i++) sum += values[i] == k ? 1 : 0;
  return sum;
}

/* Sums of one block of samples for replicates [first, last) over all checkpoints, added to what is
 * there. inside, outside (T, P, words): decisions "member" on members and on others; chosen (B, m).
 * table ((m+1)²,) by (outside, inside): region << 16 | cell; root ((m+1)²,) by absolute differences:
 * √(in² + out²). samples: of the block, the rest of the words being padding without decisions.
 * -> cells (B, T, C), moves (B, T, S, S), steps (B, T), squares (B, T). Steps are added in eight
 * lanes. */
EXPORTED int LEVEL(lattice_sums)(const uint64_t *inside, const uint64_t *outside,
                                 int64_t checkpoints, int64_t rows, int64_t words, int64_t samples,
                                 const int64_t *chosen, int64_t m, const uint32_t *table,
                                 const double *root, int64_t n_cells, int64_t n_regions,
                                 int64_t first, int64_t last, int64_t *restrict cells,
                                 int64_t *restrict moves, double *restrict steps,
                                 int64_t *restrict squares) {
  int64_t pairs_of_regions = n_regions * n_regions;
  int32_t *seen = malloc(4 * (size_t)(n_cells + pairs_of_regions) * sizeof(int32_t));
  if (!seen) return 1;
  int32_t *moved = seen + 4 * n_cells;
  int32_t in[2][SAMPLES], out[2][SAMPLES], length[SAMPLES];
  uint32_t place[SAMPLES], code[SAMPLES];
  uint16_t region[2][SAMPLES];
  int32_t side = (int32_t)m + 1;
  for (int64_t at = 0; at < words; at += STRIP) /* outermost: its rows stay in a core's cache */
    for (int64_t b = first; b < last; b++) {
      int64_t padding = at + STRIP < words ? 0 : 64 * words - samples;
      for (int64_t t = 0; t < checkpoints; t++) {
        int now = t & 1, before = 1 - now;
        const int64_t *kept = chosen + b * m;
        LEVEL(counts)(inside + t * rows * words, words, at, kept, m, in[now]);
        LEVEL(counts)(outside + t * rows * words, words, at, kept, m, out[now]);
        memset(seen, 0, 4 * (size_t)(n_cells + pairs_of_regions) * sizeof(int32_t));
        for (int i = 0; i < SAMPLES; i++)
          place[i] = (uint32_t)out[now][i] * (uint32_t)side + (uint32_t)in[now][i];
        for (int i = 0; i < SAMPLES; i++) code[i] = table[place[i]];
        for (int i = 0; i < SAMPLES; i++) region[now][i] = (uint16_t)(code[i] >> 16);
        /* Four tables, so that equal neighbours do not wait for each other. */
        for (int i = 0; i < SAMPLES; i++) seen[(i & 3) * n_cells + (code[i] & 0xFFFF)]++;
        const uint16_t *from = region[t ? before : now], *to = region[now];
        int64_t *moves_here = moves + (b * checkpoints + t) * pairs_of_regions;
        int64_t *cells_here = cells + (b * checkpoints + t) * n_cells;
        if (pairs_of_regions <= 16) {
          int32_t both[SAMPLES], kinds = (int32_t)n_regions;
          for (int i = 0; i < SAMPLES; i++) both[i] = from[i] * kinds + to[i];
          for (int32_t k = 0; k < (int32_t)pairs_of_regions; k++) {
            moves_here[k] += LEVEL(equal_to)(both, k);
          }
        } else {
          for (int i = 0; i < SAMPLES; i++)
            moved[(i & 3) * pairs_of_regions + from[i] * n_regions + to[i]]++;
          for (int64_t k = 0; k < pairs_of_regions; k++)
            for (int q = 0; q < 4; q++) moves_here[k] += moved[q * pairs_of_regions + k];
        }
        for (int64_t k = 0; k < n_cells; k++)
          cells_here[k] += seen[k] + seen[n_cells + k] + seen[2 * n_cells + k] +
                           seen[3 * n_cells + k];
        if (padding) { /* without decisions: at (0, 0), and staying there */
          cells_here[table[0] & 0xFFFF] -= padding;
          moves_here[(table[0] >> 16) * (n_regions + 1)] -= padding;
        }
        if (!t) continue;
        int64_t square = 0;
        for (int i = 0; i < SAMPLES; i++) {
          int32_t d_in = in[now][i] - in[before][i], d_out = out[now][i] - out[before][i];
          square += (int64_t)d_in * d_in + (int64_t)d_out * d_out;
          d_in = d_in < 0 ? -d_in : d_in;
          d_out = d_out < 0 ? -d_out : d_out;
          length[i] = d_in * side + d_out;
        }
        double lane[8] = {0};
        for (int i = 0; i < SAMPLES; i += 8)
          for (int j = 0; j < 8; j++) lane[j] += root[(uint32_t)length[i + j]];
        squares[b * checkpoints + t] += square;
        steps[b * checkpoints + t] += ((lane[0] + lane[1]) + (lane[2] + lane[3])) +
                                      ((lane[4] + lane[5]) + (lane[6] + lane[7]));
      }
    }
  free(seen);
  return 0;
}

static inline int64_t LEVEL(ones)(uint64_t x) { /* in whole words, side by side */
  x = x - ((x >> 1) & 0x5555555555555555ULL);
  x = (x & 0x3333333333333333ULL) + ((x >> 2) & 0x3333333333333333ULL);
  x = (x + (x >> 4)) & 0x0F0F0F0F0F0F0F0FULL;
  x += x >> 8;
  x += x >> 16;
  x += x >> 32;
  return (int64_t)(x & 0x7F);
}

/* Bits of the samples in which both words have one. */
static int64_t LEVEL(in_both)(const uint64_t *restrict a, const uint64_t *restrict b,
                              int64_t words) {
  int64_t sum = 0;
  for (int64_t w = 0; w < words; w++) sum += LEVEL(ones)(a[w] & b[w]);
  return sum;
}

/* The chosen sets of one checkpoint and replicate as bits, by a table of points: chosen where
 * table ((m+1)²,) by (outside, inside) is not 0 -> set (words,). */
static void LEVEL(by_table)(const uint64_t *inside, const uint64_t *outside, int64_t words,
                            const int64_t *kept, int64_t m, const uint8_t *table,
                            uint64_t *restrict set) {
  int32_t in[SAMPLES], out[SAMPLES];
  uint8_t is[SAMPLES];
  for (int64_t at = 0; at < words; at += STRIP) {
    LEVEL(counts)(inside, words, at, kept, m, in);
    LEVEL(counts)(outside, words, at, kept, m, out);
    for (int i = 0; i < SAMPLES; i++)
      is[i] = table[(uint32_t)out[i] * (uint32_t)(m + 1) + (uint32_t)in[i]];
    for (int w = 0; w < STRIP; w++) {
      uint64_t bits = 0;
      for (int k = 0; k < 8; k++) { /* eight bytes of 0 or 1 to eight bits, in one product */
        uint64_t eight;
        memcpy(&eight, is + 64 * w + 8 * k, 8);
        bits |= ((eight * 0x0102040810204080ULL) >> 56) << (8 * k);
      }
      set[at + w] = bits;
    }
  }
}

/* The same by rank: the `keep` samples of largest (inside − outside) and all that tie with the last
 * of them. Of counts (inside + missing outside) digits are looked at from the highest down, as in a
 * search by halves. digit (DIGITS, words) is room. valid (words,): bits of real samples. */
static void LEVEL(by_rank)(const uint64_t *inside, const uint64_t *outside, int64_t words,
                           const int64_t *kept, int64_t m, int64_t keep, const uint64_t *valid,
                           uint64_t *restrict digit, uint64_t *restrict tied,
                           uint64_t *restrict set) {
  uint64_t strip[DIGITS][STRIP], waiting[DIGITS][STRIP];
  int digits = 0;
  while ((2 * m) >> digits) digits++;
  for (int64_t at = 0; at < words; at += STRIP) {
    int has[DIGITS] = {0};
    memset(strip, 0, sizeof strip);
    LEVEL(count_rows)(inside, words, at, kept, m, 0, strip, waiting, has);
    LEVEL(count_rows)(outside, words, at, kept, m, ~(uint64_t)0, strip, waiting, has);
    LEVEL(settle)(strip, waiting, has);
    for (int d = 0; d < digits; d++) memcpy(digit + d * words + at, strip[d], sizeof strip[d]);
  }
  memset(set, 0, (size_t)words * sizeof(uint64_t));
  memcpy(tied, valid, (size_t)words * sizeof(uint64_t));
  for (int d = digits - 1; d >= 0; d--) {
    const uint64_t *bits = digit + d * words;
    int64_t higher = LEVEL(in_both)(tied, bits, words);
    if (higher >= keep) { /* the border has this digit */
      for (int64_t w = 0; w < words; w++) tied[w] &= bits[w];
    } else {
      keep -= higher;
      for (int64_t w = 0; w < words; w++) {
        set[w] |= tied[w] & bits[w];
        tied[w] &= ~bits[w];
      }
    }
  }
  for (int64_t w = 0; w < words; w++) set[w] |= tied[w];
}

/* Sizes of V_t ∩ V_T, V_t, ∪V ∩ V_T, ∪V and V_T for replicates [first, last) -> tally (5, B, T).
 * inside, outside (T, P, words), chosen (B, m) as above; keep: 0 to choose by table, else by rank.
 * valid (words,): bits of real samples. */
EXPORTED int LEVEL(chosen_sets)(const uint64_t *inside, const uint64_t *outside,
                                int64_t checkpoints, int64_t rows, int64_t words,
                                const int64_t *chosen, int64_t replicates, int64_t m, int64_t keep,
                                const uint8_t *table, const uint64_t *valid, int64_t first,
                                int64_t last, double *restrict tally) {
  uint64_t *room = malloc((size_t)words * (DIGITS + 2 + 2 * (last - first)) * sizeof(uint64_t));
  if (!room) return 1;
  uint64_t *digit = room, *tied = room + DIGITS * words, *set = tied + words;
  uint64_t *final = set + words, *ever = final + (last - first) * words;
  memset(ever, 0, (size_t)words * (last - first) * sizeof(uint64_t));
  for (int64_t k = -1; k < checkpoints; k++) { /* the last checkpoint first, then all in turn */
    int64_t t = k < 0 ? checkpoints - 1 : k;
    const uint64_t *in = inside + t * rows * words, *out = outside + t * rows * words;
    for (int64_t b = first; b < last; b++) {
      uint64_t *end = final + (b - first) * words, *any = ever + (b - first) * words;
      uint64_t *here = k < 0 || t == checkpoints - 1 ? end : set;
      if (k < 0 || here == set) {
        if (keep)
          LEVEL(by_rank)(in, out, words, chosen + b * m, m, keep, valid, digit, tied, here);
        else {
          LEVEL(by_table)(in, out, words, chosen + b * m, m, table, here);
          for (int64_t w = 0; w < words; w++) here[w] &= valid[w];
        }
      }
      if (k < 0) continue;
      for (int64_t w = 0; w < words; w++) any[w] |= here[w];
      const uint64_t *sets[5][2] = {{here, end}, {here, here}, {any, end}, {any, any}, {end, end}};
      for (int q = 0; q < 5; q++)
        tally[(q * replicates + b) * checkpoints + t] =
            (double)LEVEL(in_both)(sets[q][0], sets[q][1], words);
    }
  }
  free(room);
  return 0;
}

#undef STRIP
#undef SAMPLES
#undef DIGITS

/* Sums and counts over samples of what common variances and priors need, for every set of targets.
 *
 * Included once for each type of signal.
 */

/* Largest and smallest value of models first to last, OUT and IN: out (R, A, 2, 2), −∞ and ∞ of none. */
EXPORTED int TYPED(extremes)(const SIGNAL *restrict signal, const uint8_t *restrict member,
                             int64_t samples, int64_t views, int64_t first, int64_t last,
                             double *restrict out) {
  for (int64_t r = first; r < last; r++)
    for (int64_t a = 0; a < views; a++) {
      SIGNAL high[2][EXTREMES], low[2][EXTREMES];
      for (int g = 0; g < 2; g++)
        for (int64_t j = 0; j < EXTREMES; j++) high[g][j] = -INFINITY, low[g][j] = INFINITY;
      for (int64_t at = 0; at < samples; at += EXTREMES) {
        const uint8_t *restrict there = member + r * samples + at;
        const SIGNAL *restrict x = signal + (r * samples + at) * views + a;
        SIGNAL value[EXTREMES], in[EXTREMES];
        int64_t width = samples - at < EXTREMES ? samples - at : EXTREMES;
        for (int64_t j = 0; j < width; j++) value[j] = x[j * views], in[j] = (SIGNAL)there[j];
        for (int64_t j = width; j < EXTREMES; j++) /* once more, which changes nothing */
          value[j] = value[0], in[j] = in[0];
        for (int64_t j = 0; j < EXTREMES; j++) {
          SIGNAL up1 = in[j] > 0 ? value[j] : -INFINITY, up0 = in[j] > 0 ? -INFINITY : value[j];
          SIGNAL down1 = in[j] > 0 ? value[j] : INFINITY, down0 = in[j] > 0 ? INFINITY : value[j];
          high[0][j] = up0 > high[0][j] ? up0 : high[0][j];
          high[1][j] = up1 > high[1][j] ? up1 : high[1][j];
          low[0][j] = down0 < low[0][j] ? down0 : low[0][j];
          low[1][j] = down1 < low[1][j] ? down1 : low[1][j];
        }
      }
      for (int g = 0; g < 2; g++) {
        double up = -INFINITY, down = INFINITY;
        for (int64_t j = 0; j < EXTREMES; j++) {
          up = high[g][j] > up ? high[g][j] : up;
          down = low[g][j] < down ? low[g][j] : down;
        }
        out[((r * views + a) * 2 + g) * 2] = up;
        out[((r * views + a) * 2 + g) * 2 + 1] = down;
      }
    }
  return 0;
}

/* Sum of x · use (LANES,) in eight interleaved parts: an order that is fixed, and quick. */
static double TYPED(sum)(const double *restrict x, const double *restrict use) {
  double part[8] = {0};
  for (int64_t j = 0; j < LANES; j += 8)
    for (int64_t i = 0; i < 8; i++) part[i] += x[j + i] * use[j + i];
  return ((part[0] + part[1]) + (part[2] + part[3])) + ((part[4] + part[5]) + (part[6] + part[7]));
}

/* Which values of the group equal the cap, hit (R, LANES), and how many do, count (LANES,). */
static void TYPED(at_cap)(const TYPED(block) * b, int64_t group, double cap, uint8_t *restrict hit,
                          double *restrict count) {
  for (int64_t j = 0; j < LANES; j++) count[j] = 0.0;
  for (int64_t r = 0; r < b->models; r++) {
    const SIGNAL *restrict x = b->x + r * LANES, *restrict k = b->k + r * LANES;
    for (int64_t j = 0; j < LANES; j++) {
      double here = (double)x[j] == cap && (double)k[j] == (double)group ? 1.0 : 0.0;
      hit[r * LANES + j] = (uint8_t)here;
      count[j] += here;
    }
  }
}

/* Take out of `use` the samples of which a quarter or more, two at least, stand at the cap. */
static void TYPED(leave_capped)(const uint8_t *restrict hit, const double *restrict count,
                                const int64_t *gone, int64_t room, const double *restrict n,
                                double *restrict use) {
  double held[LANES];
  memcpy(held, count, sizeof held);
  for (int64_t i = 0; i < room && gone[i] >= 0; i++)
    for (int64_t j = 0; j < LANES; j++) held[j] -= hit[gone[i] * LANES + j];
  for (int64_t j = 0; j < LANES; j++) {
    double most = 0.25 * n[j] > 2.0 ? 0.25 * n[j] : 2.0;
    use[j] = held[j] >= most ? 0.0 : use[j];
  }
}

/* Sums for every set left out, by chunks of `per` samples: see `seepage.attacks.kernels.spreads`. */
EXPORTED int TYPED(group_totals)(const SIGNAL *restrict signal, const uint8_t *restrict member,
                                 int64_t models, int64_t samples, int64_t views,
                                 const int64_t *restrict drop, int64_t sets, int64_t room,
                                 const double *restrict shift, const double *restrict chance,
                                 int64_t level, const double *restrict caps,
                                 const uint8_t *restrict capped, const double *restrict unit,
                                 const int64_t *restrict lowest, int64_t number, int64_t per,
                                 int64_t first, int64_t last, double *restrict out,
                                 int32_t *restrict cells) {
  TYPED(block) b;
  double *left;
  if (TYPED(new_block)(&b, models, 6 + 4 + 4, &left)) return 1;
  uint8_t *hits = malloc((size_t)(4 * models * LANES)); /* of both groups, at both ends */
  if (!hits) {
    free(b.memory);
    return 1;
  }
  double *use = left + 6 * LANES, *value = use + LANES, *s2 = value + LANES, *one = s2 + LANES;
  double *held = one + LANES;
  int32_t cell[LANES], counted[LANES];
  for (int64_t j = 0; j < LANES; j++) one[j] = 1.0;
  for (int64_t chunk = first; chunk < last; chunk++) {
    int64_t stop = (chunk + 1) * per < samples ? (chunk + 1) * per : samples;
    for (int64_t at = chunk * per; at < stop; at += LANES) {
      int64_t width = stop - at < LANES ? stop - at : LANES;
      for (int64_t a = 0; a < views; a++) {
        TYPED(fill)(&b, signal, member, samples, views, a, at, width);
        TYPED(moments)(&b);
        double seen[4] = {NAN, NAN, NAN, NAN};
        for (int64_t e = 0; e < sets; e++) {
          const int64_t *gone = drop + e * room;
          TYPED(without)(&b, gone, room, left);
          for (int64_t g = 0; g < 2; g++) {
            const double *restrict n = left + 3 * g * LANES, *restrict mean = n + LANES,
                                   *restrict squares = mean + LANES;
            const int64_t where = (e * views + a) * 2 + g;
            double *total = out + ((chunk * views + a) * 2 + g) * MOMENTS * sets + e;
            for (int64_t j = 0; j < LANES; j++) use[j] = n[j] >= 2.0 ? 1.0 : 0.0;
            for (int64_t j = width; j < LANES; j++) use[j] = 0.0;
            if (level == SQUARES) {
              total[0] += TYPED(sum)(one, use);
              total[sets] += TYPED(sum)(squares, use);
              for (int64_t j = 0; j < LANES; j++) value[j] = n[j] - 1.0;
              total[2 * sets] += TYPED(sum)(value, use);
              continue;
            }
            for (int64_t j = 0; j < LANES; j++) {
              double least = STILL * mean[j], divisor = n[j] - 1.0;
              least = least * least + 1e-60;
              s2[j] = squares[j] / (divisor > 1.0 ? divisor : 1.0);
              use[j] = s2[j] > least ? use[j] : 0.0;
              value[j] = s2[j] > least ? s2[j] : least;
            }
            for (int64_t side = 0; side < 2; side++) {
              if (!capped[where * 2 + side]) continue;
              /* A cap is looked for once for all sets that share it. */
              const int64_t which = 2 * g + side;
              const double cap = caps[where * 2 + side];
              uint8_t *hit = hits + which * models * LANES;
              if (seen[which] != cap) {
                seen[which] = cap;
                TYPED(at_cap)(&b, g, cap, hit, held + which * LANES);
              }
              TYPED(leave_capped)(hit, held + which * LANES, gone, room, n, use);
            }
            double origin = unit[where] + OFFSET, base = (double)lowest[where];
            double many = TYPED(sum)(one, use), last_cell = (double)(number - 1);
            total[0] += many;
            const int alike = TYPED(all_alike)(n);
            if (alike) {
              total[7 * sets] += many * chance[2 * (int64_t)n[0] + 1];
            } else {
              double noise[LANES];
              for (int64_t j = 0; j < LANES; j++) noise[j] = chance[2 * (int32_t)n[j] + 1];
              total[7 * sets] += TYPED(sum)(noise, use);
            }
            const double expected = chance[2 * (int64_t)n[0]] + origin;
            double away[LANES];
            for (int64_t j = 0; j < LANES; j++)
              away[j] = alike ? expected : chance[2 * (int32_t)n[j]] + origin;
            for (int64_t j = 0; j < LANES; j++) {
              double place = (logarithm(value[j]) - away[j]) * (1.0 / WIDTH) - base;
              place = place > 0.0 ? place : 0.0;
              place = place < last_cell ? place : last_cell;
              cell[j] = (int32_t)place;
              counted[j] = (int32_t)use[j];
            }
            int32_t *count = cells + (((chunk * views + a) * 2 + g) * sets + e) * number;
            for (int64_t j = 0; j < LANES; j++) count[cell[j]] += counted[j];
            if (level == SPREADS) continue;
            total[sets] += TYPED(sum)(squares, use);
            for (int64_t j = 0; j < LANES; j++) value[j] = n[j] - 1.0;
            total[2 * sets] += TYPED(sum)(value, use);
            for (int64_t j = 0; j < LANES; j++) value[j] = mean[j] - shift[a];
            total[3 * sets] += TYPED(sum)(value, use);
            for (int64_t j = 0; j < LANES; j++) value[j] *= value[j];
            total[4 * sets] += TYPED(sum)(value, use);
            total[5 * sets] += TYPED(sum)(s2, use);
            for (int64_t j = 0; j < LANES; j++) value[j] = 1.0 / (n[j] > 1.0 ? n[j] : 1.0);
            total[6 * sets] += TYPED(sum)(value, use);
          }
        }
      }
    }
  }
  free(hits);
  free(b.memory);
  return 0;
}

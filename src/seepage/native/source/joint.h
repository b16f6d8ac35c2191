/* Two signals together: bivariate normal or Student-t laws of every target's references.
 *
 * values (R, N, A, 2) in float64. Two blocks hold the signals of one view; means and squares are
 * those of lanes.h, and what is new is the sum of products of both deviations.
 */
typedef struct {
  LEVEL(block_f8) x, y;
  double *cross;         /* (2, LANES): sums of products of deviations, OUT and IN */
  double *left_x, *left_y; /* (6, LANES) each: as `without` leaves them */
  double *left_cross;    /* (2, LANES) */
} both;

/* Memory for both blocks and `more` rows, the first of which is put into `rest`; 0 on success. */
static int new_both(both *b, int64_t models, int64_t more, double **rest) {
  double *rows;
  if (LEVEL(new_block_f8)(&b->x, models, 2 + 6 + 6 + 2 + more, &rows)) return 1;
  double *none;
  if (LEVEL(new_block_f8)(&b->y, models, 0, &none)) {
    free(b->x.memory);
    return 1;
  }
  b->cross = rows;
  b->left_x = rows + 2 * LANES;
  b->left_y = rows + 8 * LANES;
  b->left_cross = rows + 14 * LANES;
  *rest = rows + 16 * LANES;
  return 0;
}

static void fill_both(both *b, const double *restrict values, const uint8_t *restrict member,
                      int64_t samples, int64_t views, int64_t view, int64_t first, int64_t width) {
  LEVEL(fill_f8)(&b->x, values, member, samples, 2 * views, 2 * view, first, width);
  LEVEL(fill_f8)(&b->y, values, member, samples, 2 * views, 2 * view + 1, first, width);
  LEVEL(moments_f8)(&b->x);
  LEVEL(moments_f8)(&b->y);
  double *restrict cross0 = b->cross, *restrict cross1 = b->cross + LANES;
  const double *restrict x0 = b->x.mean0, *restrict x1 = b->x.mean1;
  const double *restrict y0 = b->y.mean0, *restrict y1 = b->y.mean1;
  memset(b->cross, 0, 2 * LANES * sizeof(double));
  for (int64_t r = 0; r < b->x.models; r++) {
    const double *restrict x = b->x.x + r * LANES, *restrict y = b->y.x + r * LANES;
    const double *restrict k = b->x.k + r * LANES;
    for (int64_t j = 0; j < LANES; j++) {
      double off_x = x[j] - LEVEL(own_mean_f8)(k[j], x0[j], x1[j]);
      double off_y = y[j] - LEVEL(own_mean_f8)(k[j], y0[j], y1[j]);
      double own = k[j] * (off_x * off_y);
      cross1[j] += own;
      cross0[j] += off_x * off_y - own;
    }
  }
}

/* What is left of both groups without the models `gone`: left_x, left_y and left_cross. */
static void without_both(both *b, const int64_t *gone, int64_t room) {
  LEVEL(without_f8)(&b->x, gone, room, b->left_x);
  LEVEL(without_f8)(&b->y, gone, room, b->left_y);
  const double *restrict x0 = b->x.mean0, *restrict x1 = b->x.mean1;
  const double *restrict y0 = b->y.mean0, *restrict y1 = b->y.mean1;
  double sum_x[2][LANES] = {{0}}, sum_y[2][LANES] = {{0}}, product[2][LANES] = {{0}};
  int64_t many = 0;
  for (; many < room && gone[many] >= 0; many++) {
    const double *restrict x = b->x.x + gone[many] * LANES, *restrict y = b->y.x + gone[many] * LANES;
    const double *restrict k = b->x.k + gone[many] * LANES;
    for (int64_t j = 0; j < LANES; j++) {
      double off_x = x[j] - LEVEL(own_mean_f8)(k[j], x0[j], x1[j]);
      double off_y = y[j] - LEVEL(own_mean_f8)(k[j], y0[j], y1[j]);
      double in_x = k[j] * off_x, in_y = k[j] * off_y;
      sum_x[1][j] += in_x, sum_x[0][j] += off_x - in_x;
      sum_y[1][j] += in_y, sum_y[0][j] += off_y - in_y;
      product[1][j] += in_x * in_y, product[0][j] += (off_x - in_x) * (off_y - in_y);
    }
  }
  for (int64_t g = 0; g < 2; g++) {
    const double *restrict n = b->left_x + 3 * g * LANES;
    const double *restrict square_x = n + 2 * LANES;
    const double *restrict square_y = b->left_y + (3 * g + 2) * LANES;
    const double *restrict whole_x = g ? b->x.square1 : b->x.square0;
    const double *restrict whole_y = g ? b->y.square1 : b->y.square0;
    const double *restrict cross = b->cross + g * LANES, *restrict gone_x = sum_x[g],
                           *restrict gone_y = sum_y[g], *restrict gone_xy = product[g];
    double *restrict left = b->left_cross + g * LANES;
    int64_t cancelled = 0;
    for (int64_t j = 0; j < LANES; j++) {
      double count = n[j] > 1.0 ? n[j] : 1.0;
      left[j] = cross[j] - gone_xy[j] - gone_x[j] * gone_y[j] / count;
      /* Where the squares were summed again, so are the products. */
      cancelled |= (square_x[j] < 2.0 * CANCELLED * whole_x[j]) |
                   (square_y[j] < 2.0 * CANCELLED * whole_y[j]);
    }
    if (!cancelled) continue;
    for (int64_t j = 0; j < LANES; j++) {
      if (!(square_x[j] < 2.0 * CANCELLED * whole_x[j]) &&
          !(square_y[j] < 2.0 * CANCELLED * whole_y[j]))
        continue;
      double total = 0.0;
      for (int64_t r = 0; r < b->x.models; r++) {
        int64_t at = r * LANES + j;
        if ((b->x.k[at] > 0) == g && !LEVEL(is_gone_f8)(r, gone, many))
          total += (b->x.x[at] - n[LANES + j]) * (b->y.x[at] - b->left_y[(3 * g + 1) * LANES + j]);
      }
      left[j] = total;
    }
  }
}

/* Sums over samples for every set left out, by chunks of `per` samples: out (CHUNKS, A, 2, JOINT, E),
 * group 1 = IN: groups with two references or more; of those Σ Sxx, Σ Sxy, Σ Syy, Σ (n − 1), Σ 1/n,
 * and Σ v, Σ v² (n − 1)/(n + 1), Σ mean, Σ mean² of x, then of y, with v = S/(n − 1).
 */
EXPORTED int LEVEL(joint_sums)(const double *restrict values, const uint8_t *restrict member,
                               int64_t models, int64_t samples, int64_t views,
                               const int64_t *restrict drop, int64_t sets, int64_t room,
                               int64_t per, int64_t first, int64_t last, double *restrict out) {
  both b;
  double *use;
  if (new_both(&b, models, 1 + 1 + 1 + 4, &use)) return 1;
  double *one = use + LANES, *value = one + LANES, *own = value + LANES;
  for (int64_t j = 0; j < LANES; j++) one[j] = 1.0;
  for (int64_t chunk = first; chunk < last; chunk++) {
    int64_t stop = (chunk + 1) * per < samples ? (chunk + 1) * per : samples;
    for (int64_t at = chunk * per; at < stop; at += LANES) {
      int64_t width = stop - at < LANES ? stop - at : LANES;
      for (int64_t a = 0; a < views; a++) {
        fill_both(&b, values, member, samples, views, a, at, width);
        for (int64_t e = 0; e < sets; e++) {
          without_both(&b, drop + e * room, room);
          for (int64_t g = 0; g < 2; g++) {
            double *total = out + ((chunk * views + a) * 2 + g) * JOINT * sets + e;
            const double *restrict n = b.left_x + 3 * g * LANES;
            for (int64_t j = 0; j < LANES; j++) use[j] = n[j] >= 2.0 && j < width ? 1.0 : 0.0;
            total[0] += LEVEL(sum_f8)(one, use);
            total[1 * sets] += LEVEL(sum_f8)(b.left_x + (3 * g + 2) * LANES, use);
            total[2 * sets] += LEVEL(sum_f8)(b.left_cross + g * LANES, use);
            total[3 * sets] += LEVEL(sum_f8)(b.left_y + (3 * g + 2) * LANES, use);
            for (int64_t j = 0; j < LANES; j++) value[j] = n[j] - 1.0;
            total[4 * sets] += LEVEL(sum_f8)(value, use);
            for (int64_t j = 0; j < LANES; j++) value[j] = 1.0 / (n[j] > 1.0 ? n[j] : 1.0);
            total[5 * sets] += LEVEL(sum_f8)(value, use);
            for (int64_t side = 0; side < 2; side++) {
              const double *restrict left = (side ? b.left_y : b.left_x) + 3 * g * LANES;
              for (int64_t j = 0; j < LANES; j++) {
                double freedom = left[j] > 2.0 ? left[j] - 1.0 : 1.0, mean = left[LANES + j];
                double v = left[2 * LANES + j] / freedom;
                own[j] = v;
                own[LANES + j] = v * v * (freedom / (freedom + 2.0));
                own[2 * LANES + j] = mean;
                own[3 * LANES + j] = mean * mean;
              }
              for (int64_t i = 0; i < 4; i++)
                total[(6 + 4 * side + i) * sets] += LEVEL(sum_f8)(own + i * LANES, use);
            }
          }
        }
      }
    }
  }
  free(b.x.memory);
  free(b.y.memory);
  return 0;
}

/* The law of a group's next pair of values: rows of law (8, LANES) are its centre in x and y, 1/a, the
 * slope b/a, 1/(c − b²/a), ν/2 + 1, 1/ν, and the determinant a (c − b²/a), of the scale (a b; b c).
 *
 * rule COMMON: normal, covariance common[4 … 6], and ν is not read; SHRUNKEN: Student-t, common[0 … 6]
 * = s, κ, m₀ (2), Σ̄ (xx, xy, yy). The rule is a constant where this is inlined. Own covariances are
 * not for these sums: where they are nearly singular what taking out rounds would be all that is left.
 */
static INLINED void law_of_both(const both *b, int64_t g, const int64_t rule, const double *common,
                                double *restrict law) {
  const double *restrict n = b->left_x + 3 * g * LANES, *restrict mean_x = n + LANES;
  const double *restrict xx = n + 2 * LANES, *restrict xy = b->left_cross + g * LANES;
  const double *restrict mean_y = b->left_y + (3 * g + 1) * LANES, *restrict yy = mean_y + LANES;
  const double s = common[0], kappa = common[1], m_x = common[2], m_y = common[3];
  const double common_xx = common[4], common_xy = common[5], common_yy = common[6];
  for (int64_t j = 0; j < LANES; j++) {
    double centre_x = mean_x[j], centre_y = mean_y[j];
    double a = common_xx, cov = common_xy, c = common_yy, freedom = 1.0;
    if (rule == SHRUNKEN) {
      double away_x = mean_x[j] - m_x, away_y = mean_y[j] - m_y;
      double total = kappa + n[j] > 1e-300 ? kappa + n[j] : 1e-300, part = kappa * n[j] / total;
      freedom = s + n[j] + 2.0;
      double scale = (total + 1.0) / (total * freedom);
      a = (s * common_xx + xx[j] + away_x * away_x * part) * scale;
      cov = (s * common_xy + xy[j] + away_x * away_y * part) * scale;
      c = (s * common_yy + yy[j] + away_y * away_y * part) * scale;
      centre_x = m_x + away_x * (n[j] / total);
      centre_y = m_y + away_y * (n[j] / total);
    }
    double least_x = FLOOR * mean_x[j], least_y = FLOOR * mean_y[j];
    a += least_x * least_x + 1e-60;
    c += least_y * least_y + 1e-60;
    /* By conditioning, x first and then y given x: exact also when the two nearly coincide. */
    double slope = cov / a, rest = c - slope * cov;
    rest = rest > 1e-12 * c ? rest : 1e-12 * c;
    law[j] = centre_x;
    law[LANES + j] = centre_y;
    law[2 * LANES + j] = 1.0 / a;
    law[3 * LANES + j] = slope;
    law[4 * LANES + j] = 1.0 / rest;
    law[5 * LANES + j] = 0.5 * freedom + 1.0;
    law[6 * LANES + j] = 1.0 / freedom;
    law[7 * LANES + j] = a * rest;
  }
}

/* Squared distance of a target's pairs from the law. */
static inline double distance(const double *restrict law, double x, double y, int64_t j) {
  double off_x = x - law[j], off_y = y - law[LANES + j] - law[3 * LANES + j] * off_x;
  return off_x * off_x * law[2 * LANES + j] + off_y * off_y * law[4 * LANES + j];
}

/* Log-ratio of the laws of IN and OUT references at every target's values, sums over views: out (R, N).
 *
 * common (E, A, 2, 7): see `law_of_both`. Drop, order and begin as in densities.h.
 */
EXPORTED int LEVEL(joint_all)(const double *restrict values, const uint8_t *restrict member,
                              int64_t models, int64_t samples, int64_t views,
                              const int64_t *restrict drop, int64_t sets, int64_t room,
                              const int64_t *restrict order, const int64_t *restrict begin,
                              int64_t rule, const double *restrict common, int64_t first,
                              int64_t last, double *restrict out) {
  both b;
  double *law0;
  if (new_both(&b, models, 16 + 1 + 1, &law0)) return 1;
  double *law1 = law0 + 8 * LANES, *term = law1 + 8 * LANES, *score = term + LANES;
  for (int64_t at = first; at < last; at += LANES) {
    int64_t width = last - at < LANES ? last - at : LANES;
    for (int64_t a = 0; a < views; a++) {
      fill_both(&b, values, member, samples, views, a, at, width);
      for (int64_t e = 0; e < sets; e++) {
        without_both(&b, drop + e * room, room);
        for (int64_t g = 0; g < 2; g++) {
          const double *own = common + ((e * views + a) * 2 + g) * 7;
          double *law = g ? law1 : law0;
          if (rule == SHRUNKEN)
            law_of_both(&b, g, SHRUNKEN, own, law);
          else
            law_of_both(&b, g, COMMON, own, law);
        }
        for (int64_t j = 0; j < LANES; j++)
          term[j] = 0.5 * logarithm(law0[7 * LANES + j] / law1[7 * LANES + j]);
        for (int64_t i = begin[e]; i < begin[e + 1]; i++) {
          const double *restrict x = b.x.x + order[i] * LANES;
          const double *restrict y = b.y.x + order[i] * LANES;
          if (rule == SHRUNKEN)
            for (int64_t j = 0; j < LANES; j++)
              score[j] =
                  law0[5 * LANES + j] *
                      logarithm(1.0 + distance(law0, x[j], y[j], j) * law0[6 * LANES + j]) -
                  law1[5 * LANES + j] *
                      logarithm(1.0 + distance(law1, x[j], y[j], j) * law1[6 * LANES + j]);
          else
            for (int64_t j = 0; j < LANES; j++)
              score[j] = 0.5 * distance(law0, x[j], y[j], j) - 0.5 * distance(law1, x[j], y[j], j);
          LEVEL(put_f8)(score, term, 1.0, a > 0, out + order[i] * samples + at, width);
        }
      }
    }
  }
  free(b.x.memory);
  free(b.y.memory);
  return 0;
}

/* Scores of every target under laws fitted to its references: normal, and Student-t.
 *
 * Included once for each type of signal. drop (E, K) are the sets of models that targets do without;
 * the targets of set e are order[begin[e]] to order[begin[e + 1] − 1]. Scores are means over views,
 * out (R, N), samples first to last. side: what is scored, see ONLINE and the others.
 */

/* A target's scores of one view, less or more a term of its set: out = or += (score + term) / views. */
static INLINED void TYPED(put)(const double *restrict score, const double *restrict term,
                               double share, int add, double *restrict out, int64_t width) {
  if (width == LANES && !add) {
    for (int64_t j = 0; j < LANES; j++) out[j] = (score[j] + term[j]) * share;
    return;
  }
  for (int64_t j = 0; j < width; j++)
    out[j] = (add ? out[j] : 0.0) + (score[j] + term[j]) * share;
}

/* Variances of both groups, at least what float32 resolves of the larger mean, in w (2, LANES).
 *
 * rule OWN: each sample's own with divisor n − ddof; COMMON: given[2 g]; SHRUNKEN: (β + S/2) /
 * (α + n/2), α = given[2 g], β = given[2 g + 1]. left as `without` leaves it.
 */
static void TYPED(variances)(const double *restrict left, int rule, double ddof,
                             const double *restrict given, int side, double *restrict w) {
  for (int g = 0; g < (side == ONLINE ? 2 : 1); g++) {
    const double *n = left + 3 * g * LANES, *square = left + (3 * g + 2) * LANES;
    const double *mean0 = left + LANES, *mean1 = left + 4 * LANES;
    double *own = w + g * LANES;
    double alpha = given[2 * g], beta = given[2 * g + 1];
    if (rule == COMMON) {
      for (int64_t j = 0; j < LANES; j++) own[j] = alpha;
      continue;
    }
    for (int64_t j = 0; j < LANES; j++) {
      double largest = fabs(mean0[j]), other = side == ONLINE ? fabs(mean1[j]) : 0.0;
      double least = FLOOR * (largest > other ? largest : other);
      least = least * least + 1e-60;
      double divisor = n[j] - ddof;
      divisor = divisor > 1.0 ? divisor : 1.0;
      double found = rule == OWN ? square[j] / divisor
                                 : (beta + 0.5 * square[j]) / (alpha + 0.5 * n[j]);
      own[j] = found > least ? found : least;
    }
  }
}

/* Gaussian scores. given (E, A, 2, 2): see `variances`; median: centres are medians, not means. */
EXPORTED int TYPED(normal_all)(const SIGNAL *restrict signal, const uint8_t *restrict member,
                               int64_t models, int64_t samples, int64_t views,
                               const int64_t *restrict drop, int64_t sets, int64_t room,
                               const int64_t *restrict order, const int64_t *restrict begin,
                               int64_t rule, double ddof, const double *restrict given,
                               int64_t median, int64_t side, int64_t first, int64_t last,
                               double *restrict out) {
  TYPED(block) b;
  double *left;
  if (TYPED(new_block)(&b, models, 6 + 2 + 1 + 1, &left)) return 1;
  double *w0 = left + 6 * LANES, *w1 = w0 + LANES, *term = w1 + LANES, *score = term + LANES;
  double *centres = NULL;
  if (median && !(centres = malloc((size_t)(2 * sets * LANES) * sizeof(double)))) {
    free(b.memory);
    return 1;
  }
  double share = 1.0 / (double)views;
  int failed = 0;
  for (int64_t at = first; at < last && !failed; at += LANES) {
    int64_t width = last - at < LANES ? last - at : LANES;
    for (int64_t a = 0; a < views; a++) {
      TYPED(fill)(&b, signal, member, samples, views, a, at, width);
      TYPED(moments)(&b);
      if (median && (failed = TYPED(medians)(&b, drop, sets, room, centres))) break;
      for (int64_t e = 0; e < sets; e++) {
        TYPED(without)(&b, drop + e * room, room, left);
        TYPED(variances)(left, (int)rule, ddof, given + (e * views + a) * 4, (int)side, w0);
        const double *restrict m0 = median ? centres + e * LANES : left + LANES;
        const double *restrict m1 = median ? centres + (sets + e) * LANES : left + 4 * LANES;
        /* One logarithm for all targets of the set, and a product for each instead of a quotient. */
        if (side == ONLINE)
          for (int64_t j = 0; j < LANES; j++) {
            term[j] = 0.5 * logarithm(w0[j] / w1[j]);
            w0[j] = 0.5 / w0[j];
            w1[j] = 0.5 / w1[j];
          }
        else if (side == TWO_SIDED)
          for (int64_t j = 0; j < LANES; j++) {
            term[j] = 0.5 * logarithm(TWO_PI * w0[j]);
            w0[j] = 0.5 / w0[j];
          }
        else
          for (int64_t j = 0; j < LANES; j++) {
            term[j] = 0.0;
            w0[j] = sqrt(1.0 / w0[j]);
          }
        for (int64_t i = begin[e]; i < begin[e + 1]; i++) {
          const SIGNAL *restrict x = b.x + order[i] * LANES;
          if (side == ONLINE)
            for (int64_t j = 0; j < LANES; j++) {
              double z0 = x[j] - m0[j], z1 = x[j] - m1[j];
              score[j] = z0 * z0 * w0[j] - z1 * z1 * w1[j];
            }
          else if (side == TWO_SIDED)
            for (int64_t j = 0; j < LANES; j++) {
              double z = x[j] - m0[j];
              score[j] = z * z * w0[j];
            }
          else
            for (int64_t j = 0; j < LANES; j++) score[j] = (x[j] - m0[j]) * w0[j];
          TYPED(put)(score, term, share, a > 0, out + order[i] * samples + at, width);
        }
      }
    }
  }
  free(centres);
  free(b.memory);
  return failed;
}

/* The Student-t of the next value: rows of law (4, LANES) are centre, 1/(2β′), α + ½, log constant.
 *
 * n, mean, square: what is left of a group; prior: m₀, κ₀, α₀, β₀; constant (R + 1,) by n. With
 * β′ = β (κ + 1)/κ, log p(x) = constant − ½ log(2πβ′) − (α + ½) log(1 + z²/(2β′)). What depends on
 * the number of references alone is taken from the first lane where it is the same in all
 * (`alike`, a constant where this is inlined).
 */
static INLINED void TYPED(predictive)(const double *restrict n, const double *restrict mean,
                                      const double *restrict square, const double *prior,
                                      const double *restrict constant, const int alike,
                                      double *restrict law) {
  const double m0 = prior[0], k0 = prior[1], a0 = prior[2], b0 = prior[3], n_first = n[0];
  for (int64_t j = 0; j < LANES; j++) {
    double count = alike ? n_first : n[j], kappa = k0 + count;
    double toward = k0 / kappa, share = 0.5 * k0 * count / kappa, scale = 0.5 * kappa / (kappa + 1.0);
    double off = mean[j] - m0;
    law[j] = mean[j] - toward * off;
    law[LANES + j] = scale / (b0 + 0.5 * square[j] + share * off * off);
    law[2 * LANES + j] = a0 + 0.5 * count + 0.5;
    law[3 * LANES + j] = constant[(int32_t)count];
  }
}

/* Whether all lanes hold one value. */
static int TYPED(all_alike)(const double *restrict n) {
  int64_t other = 0;
  for (int64_t j = 1; j < LANES; j++) other |= n[j] != n[0];
  return !other;
}

/* Scores with the posterior predictive Student-t of a normal-inverse-gamma prior.
 *
 * prior (E, A, 2, 4): m₀, κ₀, α₀, β₀ of the OUT and IN group; constant (E, A, 2, R + 1):
 * log Γ(α + ½) − log Γ(α) with α = α₀ + n/2, by the number n of references.
 */
EXPORTED int TYPED(student_all)(const SIGNAL *restrict signal, const uint8_t *restrict member,
                                int64_t models, int64_t samples, int64_t views,
                                const int64_t *restrict drop, int64_t sets, int64_t room,
                                const int64_t *restrict order, const int64_t *restrict begin,
                                const double *restrict prior, const double *restrict constant,
                                int64_t side, int64_t first, int64_t last, double *restrict out) {
  TYPED(block) b;
  double *left;
  if (TYPED(new_block)(&b, models, 6 + 8 + 1 + 1, &left)) return 1;
  double *law = left + 6 * LANES, *term = law + 8 * LANES, *score = term + LANES;
  const double *restrict c0 = law, *restrict i0 = law + LANES, *restrict g0 = law + 3 * LANES;
  const double *restrict c1 = law + 4 * LANES, *restrict i1 = law + 5 * LANES;
  const double *restrict a1 = law + 6 * LANES, *restrict g1 = law + 7 * LANES;
  double *a0 = law + 2 * LANES;
  double share = 1.0 / (double)views;
  for (int64_t at = first; at < last; at += LANES) {
    int64_t width = last - at < LANES ? last - at : LANES;
    for (int64_t a = 0; a < views; a++) {
      TYPED(fill)(&b, signal, member, samples, views, a, at, width);
      TYPED(moments)(&b);
      for (int64_t e = 0; e < sets; e++) {
        TYPED(without)(&b, drop + e * room, room, left);
        for (int64_t g = 0; g < (side == ONLINE ? 2 : 1); g++) {
          const double *n = left + 3 * g * LANES, *mean = n + LANES, *square = mean + LANES;
          const double *own = prior + ((e * views + a) * 2 + g) * 4;
          const double *table = constant + ((e * views + a) * 2 + g) * (models + 1);
          if (TYPED(all_alike)(n))
            TYPED(predictive)(n, mean, square, own, table, 1, law + 4 * g * LANES);
          else
            TYPED(predictive)(n, mean, square, own, table, 0, law + 4 * g * LANES);
        }
        if (side == ONLINE)
          for (int64_t j = 0; j < LANES; j++)
            term[j] = g1[j] - g0[j] + 0.5 * logarithm(i1[j] / i0[j]);
        else if (side == TWO_SIDED)
          for (int64_t j = 0; j < LANES; j++)
            term[j] = -(g0[j] + 0.5 * logarithm(i0[j] * (1.0 / PI)));
        else
          for (int64_t j = 0; j < LANES; j++) {
            term[j] = 0.0;
            a0[j] = sqrt((2.0 * a0[j] - 1.0) * i0[j]);
          }
        for (int64_t i = begin[e]; i < begin[e + 1]; i++) {
          const SIGNAL *restrict x = b.x + order[i] * LANES;
          if (side == ONLINE)
            for (int64_t j = 0; j < LANES; j++) {
              double z0 = x[j] - c0[j], z1 = x[j] - c1[j];
              score[j] = a0[j] * logarithm(1.0 + z0 * z0 * i0[j]) -
                         a1[j] * logarithm(1.0 + z1 * z1 * i1[j]);
            }
          else if (side == TWO_SIDED)
            for (int64_t j = 0; j < LANES; j++) {
              double z = x[j] - c0[j];
              score[j] = a0[j] * logarithm(1.0 + z * z * i0[j]);
            }
          else
            for (int64_t j = 0; j < LANES; j++) score[j] = (x[j] - c0[j]) * a0[j];
          TYPED(put)(score, term, share, a > 0, out + order[i] * samples + at, width);
        }
      }
    }
  }
  free(b.memory);
  return 0;
}

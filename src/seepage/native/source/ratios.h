/* Ratios of the target's probability to what references give, included once for each type of signal.
 *
 * p = exp(−loss). Losses are shifted so that the surest reference has p = 1: nothing underflows.
 */

/* Sums of p over OUT and IN models of one lane without the models `gone`, done directly: what is
 * left may be tiny beside what is taken out. Returns the least loss that is left, which has p = 1;
 * groups: 1 = IN, 0 = OUT, 2 = both.
 */
static double TYPED(direct_sums)(const TYPED(block) * b, int64_t lane, int64_t groups,
                                 const int64_t *gone, int64_t many, double *sums) {
  double least = INFINITY;
  for (int pass = 0; pass < 2; pass++)
    for (int64_t r = 0; r < b->models; r++) {
      int64_t group = b->k[r * LANES + lane] > 0;
      if ((groups != 2 && group != groups) || TYPED(is_gone)(r, gone, many)) continue;
      double loss = b->x[r * LANES + lane];
      if (pass == 0)
        least = loss < least ? loss : least;
      else
        sums[group] += exponential(least - loss);
    }
  return least;
}

/* Sums of p and counts over both groups without the models `gone`, from those of all models. `many`
 * is a constant where this is inlined.
 */
static INLINED void TYPED(take_out)(const TYPED(block) * b, const double *restrict p,
                                    const int64_t *gone, const int64_t many,
                                    const double *restrict all, double *restrict left) {
  for (int64_t j = 0; j < LANES; j++) {
    double s0 = all[j], s1 = all[LANES + j], n0 = all[2 * LANES + j], n1 = all[3 * LANES + j];
    for (int64_t i = 0; i < many; i++) {
      double in = b->k[gone[i] * LANES + j], value = p[gone[i] * LANES + j], own = in * value;
      s1 -= own;
      s0 -= value - own;
      n1 -= in;
      n0 -= 1.0 - in;
    }
    left[j] = s0;
    left[LANES + j] = s1;
    left[2 * LANES + j] = n0;
    left[3 * LANES + j] = n1;
  }
}

/* Mean p of the references in each lane by a rule, a constant where this is inlined; whether enough
 * of the sums was left for it (sure, 1 or 0), and whether there are any references (known, 1 or 0).
 * Returns whether some lane is not sure.
 */
static INLINED int64_t TYPED(means)(const int64_t rule, const double *restrict all,
                                    const double *restrict left, double *restrict mean,
                                    double *restrict sure, double *restrict known) {
  int64_t unsure = 0;
  for (int64_t j = 0; j < LANES; j++) {
    double whole0 = all[j], whole1 = all[LANES + j], s0 = left[j], s1 = left[LANES + j];
    double n0 = left[2 * LANES + j], n1 = left[3 * LANES + j];
    if (rule == ALL) {
      double n = n0 + n1, s = s0 + s1;
      mean[j] = s / n;
      known[j] = n > 0.0 ? 1.0 : 0.0;
      sure[j] = s > 1e-4 * (whole0 + whole1) ? 1.0 : 1.0 - known[j];
    } else {
      double part0 = n0 > 0.0 ? s0 / n0 : 0.0, part1 = n1 > 0.0 ? s1 / n1 : 0.0;
      double clear0 = s0 > 1e-4 * whole0 && whole0 > 1e-200 ? 1.0 : n0 > 0.0 ? 0.0 : 1.0;
      double clear1 = s1 > 1e-4 * whole1 && whole1 > 1e-200 ? 1.0 : n1 > 0.0 ? 0.0 : 1.0;
      mean[j] = rule == HALVES ? part0 + part1 : part0;
      sure[j] = rule == HALVES ? clear0 * clear1 : clear0;
      known[j] = (rule == HALVES ? n0 + n1 : n0) > 0.0 ? 1.0 : 0.0;
    }
    unsure |= sure[j] == 0.0;
  }
  return unsure;
}

/* log p_target − log p_references of every target, mean over views: out (R, N).
 *
 * rule HALVES: references are ½ (mean IN + mean OUT), or the one of which there are any; MIXED:
 * ½ ((1 + a) mean OUT + 1 − a); ALL: the mean of all; TEMPERED: a times the log of the mean OUT.
 * Where there are no references the score is 0. Where next to nothing is left of a sum it is made
 * again. Drop, order and begin as in densities.h.
 */
EXPORTED int TYPED(log_ratio_all)(const SIGNAL *restrict signal, const uint8_t *restrict member,
                                  int64_t models, int64_t samples, int64_t views,
                                  const int64_t *restrict drop, int64_t sets, int64_t room,
                                  const int64_t *restrict order, const int64_t *restrict begin,
                                  int64_t rule, double a, int64_t first, int64_t last,
                                  double *restrict out) {
  TYPED(block) b;
  double *top;
  if (TYPED(new_block)(&b, models, 1 + 4 + 4 + 5 + models, &top)) return 1;
  double *all = top + LANES, *left = all + 4 * LANES, *mean = left + 4 * LANES;
  double *least = mean + LANES, *sure = least + LANES, *reference = sure + LANES;
  double *known = reference + LANES;
  double *p = known + LANES;
  const double share = 1.0 / (double)views, log_2 = 0.693147180559945309417;
  for (int64_t at = first; at < last; at += LANES) {
    int64_t width = last - at < LANES ? last - at : LANES;
    for (int64_t view = 0; view < views; view++) {
      TYPED(fill)(&b, signal, member, samples, views, view, at, width);
      for (int64_t j = 0; j < LANES; j++) top[j] = INFINITY;
      memset(all, 0, 4 * LANES * sizeof(double));
      for (int64_t r = 0; r < models; r++) {
        const SIGNAL *restrict x = b.x + r * LANES;
        for (int64_t j = 0; j < LANES; j++) top[j] = (double)x[j] < top[j] ? (double)x[j] : top[j];
      }
      for (int64_t r = 0; r < models; r++) {
        const SIGNAL *restrict x = b.x + r * LANES, *restrict k = b.k + r * LANES;
        double *restrict here = p + r * LANES;
        for (int64_t j = 0; j < LANES; j++) {
          double value = exponential(top[j] - x[j]), in = k[j], own = in * value;
          here[j] = value;
          all[j] += value - own;
          all[LANES + j] += own;
          all[3 * LANES + j] += in;
        }
      }
      for (int64_t j = 0; j < LANES; j++) all[2 * LANES + j] = (double)models - all[3 * LANES + j];
      for (int64_t e = 0; e < sets; e++) {
        const int64_t *gone = drop + e * room;
        int64_t many = 0;
        while (many < room && gone[many] >= 0) many++;
        if (many == 1)
          TYPED(take_out)(&b, p, gone, 1, all, left);
        else if (many == 2)
          TYPED(take_out)(&b, p, gone, 2, all, left);
        else
          TYPED(take_out)(&b, p, gone, many, all, left);
        const double *restrict n0 = left + 2 * LANES, *restrict n1 = left + 3 * LANES;
        int64_t unsure = rule == HALVES ? TYPED(means)(HALVES, all, left, mean, sure, known)
                         : rule == ALL  ? TYPED(means)(ALL, all, left, mean, sure, known)
                                        : TYPED(means)(MIXED, all, left, mean, sure, known);
        memcpy(least, top, LANES * sizeof(double));
        if (unsure)
          for (int64_t j = 0; j < LANES; j++) {
            if (sure[j] != 0.0) continue;
            double sums[2] = {0.0, 0.0};
            int64_t groups = rule == HALVES || rule == ALL ? 2 : 0;
            least[j] = TYPED(direct_sums)(&b, j, groups, gone, many, sums);
            double part0 = n0[j] > 0.0 ? sums[0] / n0[j] : 0.0;
            double part1 = n1[j] > 0.0 ? sums[1] / n1[j] : 0.0;
            mean[j] = rule == HALVES ? part0 + part1
                      : rule == ALL  ? (sums[0] + sums[1]) / (n0[j] + n1[j])
                                     : part0;
          }
        if (rule == MIXED && a < 1.0)
          for (int64_t j = 0; j < LANES; j++) {
            double probability = mean[j] * exponential(-least[j]);
            mean[j] = 0.5 * ((1.0 + a) * probability + 1.0 - a);
            least[j] = 0.0;
          }
        for (int64_t j = 0; j < LANES; j++) reference[j] = logarithm(mean[j]) - least[j];
        if (rule == TEMPERED)
          for (int64_t j = 0; j < LANES; j++) reference[j] *= a;
        if (rule == HALVES)
          for (int64_t j = 0; j < LANES; j++)
            reference[j] -= n0[j] > 0.0 && n1[j] > 0.0 ? log_2 : 0.0;
        /* Without references nothing is compared. */
        for (int64_t j = 0; j < LANES; j++) {
          reference[j] = known[j] > 0.0 ? reference[j] : 0.0;
          known[j] *= share;
        }
        for (int64_t i = begin[e]; i < begin[e + 1]; i++) {
          const SIGNAL *restrict x = b.x + order[i] * LANES;
          double *restrict here = out + order[i] * samples + at;
          if (view == 0 && width == LANES)
            for (int64_t j = 0; j < LANES; j++) here[j] = 0.0 - (x[j] + reference[j]) * known[j];
          else
            for (int64_t j = 0; j < width; j++)
              here[j] = (view ? here[j] : 0.0) - (x[j] + reference[j]) * known[j];
        }
      }
    }
  }
  free(b.memory);
  return 0;
}

/* A block of samples as lanes: every inner loop runs over samples, side by side in memory.
 *
 * Included once for each type of signal (SIGNAL, TYPED). Signals are (R, N, A), membership (R, N);
 * of one view, block `x` and `k` are (R, LANES), `k` 1 where the model is IN and else 0. Moments are
 * taken about each group's own mean in two passes; models that a target does without are taken out
 * of the sums. Where taking out would cancel more than six digits (an outlier that carried nearly
 * all of the variance), the sum is done again without them.
 */
typedef struct {
  SIGNAL *x, *k;
  double *n0, *mean0, *square0; /* of the OUT group: count, mean, sum of squares about it */
  double *n1, *mean1, *square1; /* of the IN group */
  int64_t models;
  void *memory;
} TYPED(block);

/* The mean of a model's own group. Both are loaded, so that loops do several lanes at once. */
static INLINED double TYPED(own_mean)(double in, double mean0, double mean1) {
  return in > 0.0 ? mean1 : mean0;
}

/* Memory for a block and `more` rows of doubles, whose first is put into `rest`; 0 on success. */
static int TYPED(new_block)(TYPED(block) * b, int64_t models, int64_t more, double **rest) {
  size_t values = (size_t)models * LANES * sizeof(SIGNAL);
  b->memory = malloc(2 * values + (size_t)(6 + more) * LANES * sizeof(double) + 64);
  if (!b->memory) return 1;
  char *begin = (char *)(((uintptr_t)b->memory + 63) & ~(uintptr_t)63);
  b->models = models;
  b->x = (SIGNAL *)begin;
  b->k = (SIGNAL *)(begin + values);
  double *rows = (double *)(begin + 2 * values);
  b->n0 = rows, b->mean0 = rows + LANES, b->square0 = rows + 2 * LANES;
  b->n1 = rows + 3 * LANES, b->mean1 = rows + 4 * LANES, b->square1 = rows + 5 * LANES;
  *rest = rows + 6 * LANES;
  return 0;
}

/* Values and membership of a block; lanes beyond `width` repeat the last sample. */
static void TYPED(fill)(TYPED(block) * b, const SIGNAL *restrict signal,
                        const uint8_t *restrict member, int64_t samples, int64_t views,
                        int64_t view, int64_t first, int64_t width) {
  for (int64_t r = 0; r < b->models; r++) {
    SIGNAL *restrict x = b->x + r * LANES, *restrict k = b->k + r * LANES;
    const SIGNAL *here = signal + (r * samples + first) * views + view;
    const uint8_t *there = member + r * samples + first;
    if (width == LANES) {
      if (views == 1)
        for (int64_t j = 0; j < LANES; j++) x[j] = here[j];
      else
        for (int64_t j = 0; j < LANES; j++) x[j] = here[j * views];
      for (int64_t j = 0; j < LANES; j++) k[j] = (SIGNAL)(int32_t)there[j];
    } else {
      for (int64_t j = 0; j < LANES; j++) {
        int64_t at = j < width ? j : width - 1;
        x[j] = here[at * views];
        k[j] = (SIGNAL)(int32_t)there[at];
      }
    }
  }
}

/* The moments of both groups of a filled block. A product with 0 or 1 is exact. */
static void TYPED(moments)(TYPED(block) * b) {
  double *restrict n0 = b->n0, *restrict n1 = b->n1;
  double *restrict mean0 = b->mean0, *restrict mean1 = b->mean1;
  double *restrict square0 = b->square0, *restrict square1 = b->square1;
  memset(n0, 0, 6 * LANES * sizeof(double));
  for (int64_t r = 0; r < b->models; r++) {
    const SIGNAL *restrict x = b->x + r * LANES, *restrict k = b->k + r * LANES;
    for (int64_t j = 0; j < LANES; j++) {
      double in = k[j], value = x[j], own = in * value;
      n1[j] += in;
      mean1[j] += own;
      mean0[j] += value - own;
    }
  }
  for (int64_t j = 0; j < LANES; j++) {
    n0[j] = (double)b->models - n1[j];
    mean0[j] /= n0[j] > 1.0 ? n0[j] : 1.0;
    mean1[j] /= n1[j] > 1.0 ? n1[j] : 1.0;
  }
  for (int64_t r = 0; r < b->models; r++) {
    const SIGNAL *restrict x = b->x + r * LANES, *restrict k = b->k + r * LANES;
    for (int64_t j = 0; j < LANES; j++) {
      double in = k[j], off = x[j] - TYPED(own_mean)(in, mean0[j], mean1[j]);
      double own = in * (off * off);
      square1[j] += own;
      square0[j] += off * off - own;
    }
  }
}

/* Whether a model is among those that are left out. */
static int TYPED(is_gone)(int64_t model, const int64_t *gone, int64_t many) {
  for (int64_t i = 0; i < many; i++)
    if (gone[i] == model) return 1;
  return 0;
}

/* Mean and sum of squares about it of one lane's group without the models `gone`. */
static void TYPED(direct)(const TYPED(block) * b, int64_t lane, int group, const int64_t *gone,
                          int64_t many, double *mean, double *square) {
  double n = 0.0, sum = 0.0, squares = 0.0;
  for (int pass = 0; pass < 2; pass++) {
    for (int64_t r = 0; r < b->models; r++) {
      if ((b->k[r * LANES + lane] > 0) != group || TYPED(is_gone)(r, gone, many)) continue;
      double value = b->x[r * LANES + lane];
      if (pass) {
        squares += (value - *mean) * (value - *mean);
      } else {
        n += 1.0;
        sum += value;
      }
    }
    *mean = sum / n;
  }
  *square = squares;
}

/* What is left of both groups without `many` models: rows of left (6, LANES) are count, mean and sum
 * of squares about it of the OUT group, then of the IN group. `many` is a constant where this is
 * inlined, so that the inner loop is unrolled and the outer one done for several lanes at once.
 * Returns whether taking out cancelled in some lane.
 */
static INLINED int64_t TYPED(taken_out)(const TYPED(block) * b, const int64_t *gone,
                                        const int64_t many, double *restrict left) {
  const double *restrict n0 = b->n0, *restrict n1 = b->n1;
  const double *restrict mean0 = b->mean0, *restrict mean1 = b->mean1;
  const double *restrict square0 = b->square0, *restrict square1 = b->square1;
  const SIGNAL *x[FEW] = {0}, *k[FEW] = {0};
  for (int64_t i = 0; i < many; i++) x[i] = b->x + gone[i] * LANES, k[i] = b->k + gone[i] * LANES;
  int64_t cancelled = 0;
  for (int64_t j = 0; j < LANES; j++) {
    double count = 0.0, off0 = 0.0, off1 = 0.0, own0 = 0.0, own1 = 0.0;
    for (int64_t i = 0; i < many; i++) {
      double in = k[i][j], off = x[i][j] - TYPED(own_mean)(in, mean0[j], mean1[j]);
      double part = in * off, other = off - part;
      count += in;
      off1 += part;
      off0 += other;
      own1 += part * part;
      own0 += other * other;
    }
    double left0 = n0[j] - ((double)many - count), left1 = n1[j] - count;
    double shift0 = off0 / (left0 > 1.0 ? left0 : 1.0);
    double shift1 = off1 / (left1 > 1.0 ? left1 : 1.0);
    double found0 = square0[j] - own0 - off0 * shift0, found1 = square1[j] - own1 - off1 * shift1;
    left[j] = left0;
    left[LANES + j] = mean0[j] - shift0;
    left[2 * LANES + j] = found0;
    left[3 * LANES + j] = left1;
    left[4 * LANES + j] = mean1[j] - shift1;
    left[5 * LANES + j] = found1;
    int64_t lost0 = found0 < CANCELLED * square0[j], lost1 = found1 < CANCELLED * square1[j];
    cancelled |= lost0 | lost1;
  }
  return cancelled;
}

/* The same for any number of models: the sums go through memory, model by model. */
static int64_t TYPED(many_taken_out)(const TYPED(block) * b, const int64_t *gone, int64_t many,
                                     double *restrict left) {
  const double *restrict n0 = b->n0, *restrict n1 = b->n1;
  const double *restrict mean0 = b->mean0, *restrict mean1 = b->mean1;
  const double *restrict square0 = b->square0, *restrict square1 = b->square1;
  double count[LANES] = {0}, off0[LANES] = {0}, off1[LANES] = {0}, own0[LANES] = {0},
         own1[LANES] = {0};
  for (int64_t i = 0; i < many; i++) {
    const SIGNAL *restrict x = b->x + gone[i] * LANES, *restrict k = b->k + gone[i] * LANES;
    for (int64_t j = 0; j < LANES; j++) {
      double in = k[j], off = x[j] - TYPED(own_mean)(in, mean0[j], mean1[j]);
      double part = in * off, other = off - part;
      count[j] += in;
      off1[j] += part;
      off0[j] += other;
      own1[j] += part * part;
      own0[j] += other * other;
    }
  }
  double by0[LANES], by1[LANES];
  for (int64_t j = 0; j < LANES; j++) {
    double left0 = n0[j] - ((double)many - count[j]), left1 = n1[j] - count[j];
    left[j] = left0;
    left[3 * LANES + j] = left1;
    by0[j] = left0 > 1.0 ? left0 : 1.0;
    by1[j] = left1 > 1.0 ? left1 : 1.0;
  }
  int64_t cancelled = 0;
  for (int64_t j = 0; j < LANES; j++) {
    double shift0 = off0[j] / by0[j], shift1 = off1[j] / by1[j];
    double found0 = square0[j] - own0[j] - off0[j] * shift0;
    double found1 = square1[j] - own1[j] - off1[j] * shift1;
    left[LANES + j] = mean0[j] - shift0;
    left[2 * LANES + j] = found0;
    left[4 * LANES + j] = mean1[j] - shift1;
    left[5 * LANES + j] = found1;
    int64_t lost0 = found0 < CANCELLED * square0[j], lost1 = found1 < CANCELLED * square1[j];
    cancelled |= lost0 | lost1;
  }
  return cancelled;
}

/* Count, mean and squares of both groups without the models `gone` (K,), −1 after the last. Where no
 * reference is left the mean and the squares mean nothing.
 */
static void TYPED(without)(const TYPED(block) * b, const int64_t *gone, int64_t room,
                           double *restrict left) {
  int64_t many = 0;
  while (many < room && gone[many] >= 0) many++;
  int64_t cancelled = many == 1   ? TYPED(taken_out)(b, gone, 1, left)
                      : many == 2 ? TYPED(taken_out)(b, gone, 2, left)
                                  : TYPED(many_taken_out)(b, gone, many, left);
  if (!cancelled) return;
  for (int group = 0; group < 2; group++) {
    double *n = left + 3 * group * LANES, *mean = n + LANES, *square = mean + LANES;
    const double *whole = group ? b->square1 : b->square0;
    for (int64_t j = 0; j < LANES; j++)
      if (square[j] < CANCELLED * whole[j] && n[j] > 0)
        TYPED(direct)(b, j, group, gone, many, mean + j, square + j);
  }
}

/* Logarithm and exponential of doubles without a branch, so that a loop does several at once.
 *
 * The rules of fdlibm (Sun, e_log.c and e_exp.c), each to one unit in the last place. The bits are
 * the same on every machine, which those of the machine's own C library are not.
 */
#define ADD_2_52 0x4330000000000000u /* the bits of 2^52: or'ed with a small whole number, their sum */
#define ROUNDING 0x1.8p52            /* added and taken off again, it rounds to a whole number */
#define LN2_HIGH 6.93147180369123816490e-01
#define LN2_LOW 1.90821492927058770002e-10

static inline double from_bits(uint64_t bits) {
  double x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

static inline uint64_t bits_of(double x) {
  uint64_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

/* log x = k log 2 + log m, m in [√½, √2), s = (m − 1)/(m + 1), an odd polynomial in s. */
static inline double logarithm(double x) {
  const uint64_t root_half = 0x3FE6A09E667F3BCDu;
  int subnormal = x < 0x1p-1022;
  double scaled = subnormal ? x * 0x1p54 : x;
  uint64_t shifted = bits_of(scaled) - root_half + (UINT64_C(1023) << 52);
  double m = from_bits((shifted & 0x000FFFFFFFFFFFFFu) + root_half);
  double k = from_bits((shifted >> 52) | ADD_2_52) - (0x1p52 + 1023.0) - (subnormal ? 54.0 : 0.0);
  double f = m - 1.0;
  double s = f / (2.0 + f);
  double z = s * s;
  double w = z * z;
  double odd = z * (6.666666666666735130e-01 +
                    w * (2.857142874366239149e-01 +
                         w * (1.818357216161805012e-01 + w * 1.479819860510658591e-01)));
  double even = w * (3.999999999940941908e-01 +
                     w * (2.222219843214978396e-01 + w * 1.531383769920937332e-01));
  double half = 0.5 * f * f;
  double found = k * LN2_HIGH - ((half - (s * (half + (odd + even)) + k * LN2_LOW)) - f);
  found = x > 0.0 ? found : x == 0.0 ? -INFINITY : NAN;
  return x <= 1.7976931348623157e308 ? found : x;
}

/* exp x = 2^k exp r, |r| ≤ ½ log 2, a rational function of r; 2^k in two factors. */
static inline double exponential(double x) {
  double within = x < -750.0 ? -750.0 : x;
  within = within > 750.0 ? 750.0 : within;
  double k = (within * 1.44269504088896338700e+00 + ROUNDING) - ROUNDING;
  double high = within - k * LN2_HIGH;
  double low = k * LN2_LOW;
  double r = high - low;
  double t = r * r;
  double c = r - t * (1.66666666666666019037e-01 +
                      t * (-2.77777777770155933842e-03 +
                           t * (6.61375632143793436117e-05 +
                                t * (-1.65339022054652515390e-06 + t * 4.13813679705723846039e-08))));
  double y = 1.0 - ((low - (r * c) / (2.0 - c)) - high);
  double first = (0.5 * k + ROUNDING) - ROUNDING;
  double second = k - first;
  const uint64_t one = UINT64_C(1023) << 52;
  y *= from_bits((bits_of(first + ROUNDING) << 52) + one);
  return y * from_bits((bits_of(second + ROUNDING) << 52) + one);
}

/* Of x (count,) into out (count,). */
EXPORTED int LEVEL(logarithms)(const double *restrict x, int64_t first, int64_t last,
                               double *restrict out) {
  for (int64_t i = first; i < last; i++) out[i] = logarithm(x[i]);
  return 0;
}

EXPORTED int LEVEL(exponentials)(const double *restrict x, int64_t first, int64_t last,
                                 double *restrict out) {
  for (int64_t i = first; i < last; i++) out[i] = exponential(x[i]);
  return 0;
}

#undef ADD_2_52
#undef ROUNDING
#undef LN2_HIGH
#undef LN2_LOW

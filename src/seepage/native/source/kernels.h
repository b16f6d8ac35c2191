/* All kernels, at the level of the file that includes this.
 *
 * A kernel takes raw pointers to contiguous arrays and their sizes, and the part [first, last) of the
 * work that it is to do; which part never changes a result. Arrays that are written do not overlap
 * those that are read. What it needs for itself lies on the stack or is allocated and freed here; a
 * kernel that could not get memory returns 1, else 0.
 *
 * Those that read signals are included twice, for signals in float32 (name_f4) and float64 (name_f8).
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(_WIN32)
#define EXPORTED __declspec(dllexport)
#else
#define EXPORTED __attribute__((visibility("default")))
#endif

/* A loop that compilers vectorise only where it stands alone. */
#if defined(__GNUC__)
#define ALONE __attribute__((noinline))
#else
#define ALONE
#endif

#if defined(_MSC_VER)
#define restrict __restrict
#define INLINED __forceinline
#else
#define INLINED inline __attribute__((always_inline))
#endif

#define LANES 128 /* samples of a block of moments */
#define SORTED 16 /* samples whose models are sorted at once */
#define FEW 2     /* models that are taken out of sums at once */
#define EXTREMES 64 /* samples that are compared at once */
#define CANCELLED 1e-6
#define FLOOR 0x1p-22 /* a spread below float32's resolution of the values is rounding */
#define STILL (4 * FLOOR)
#define MOMENTS 8
#define JOINT 14
#define WIDTH 0.0625
#define OFFSET 0.01234567891
#define PI 3.14159265358979323846
#define TWO_PI 6.28318530717958647693

enum { ONLINE, ONE_SIDED, TWO_SIDED };  /* log-ratio, distance above OUT, minus log-density of OUT */
enum { OWN, COMMON, SHRUNKEN };         /* whose variance */

enum { HALVES, MIXED, ALL, TEMPERED };  /* what probability is compared with */
enum { SQUARES, SPREADS, MEANS };       /* which sums are wanted */

#include "pair_auc.h"
#include "sides.h"
#include "size_ranks.h"
#include "lattice.h"

#define PIXEL uint8_t
#define CUT LEVEL(cut_images_u1)
#include "cut_images.h"
#undef PIXEL
#undef CUT
#define PIXEL float
#define CUT LEVEL(cut_images_f4)
#include "cut_images.h"
#undef PIXEL
#undef CUT
#include "pooling.h"
#include "elementary.h"
#include "sorting.h"
#include "ranks.h"

#define SIGNAL float
#define TYPED(name) LEVEL(name##_f4)
#include "by_type.h"
#undef SIGNAL
#undef TYPED

#define SIGNAL double
#define TYPED(name) LEVEL(name##_f8)
#include "by_type.h"

#include "joint.h"

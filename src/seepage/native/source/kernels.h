/* All kernels, at the level of the file that includes this.
 *
 * A kernel takes raw pointers to contiguous arrays and their sizes, and the part [first, last) of the
 * work that it is to do; which part never changes a result. Arrays that are written do not overlap
 * those that are read. What it needs for itself lies on the stack or is allocated and freed here; a
 * kernel that could not get memory returns 1, else 0.
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

#if defined(_MSC_VER)
#define restrict __restrict
#endif

#include "pair_auc.h"

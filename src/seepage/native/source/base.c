/* Every kernel for any processor. */
#define LEVEL(name) name##_base
#include "kernels.h"

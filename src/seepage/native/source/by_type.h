/* The kernels that read signals, in the order in which they build on each other. */
#include "lanes.h"
#include "medians.h"
#include "densities.h"
#include "spreads.h"
#include "ratios.h"
#include "empirical.h"

"""Leave-one-out in one pass over blocks of samples: every model the target once.

The kernels themselves are in C (`seepage.native`: lanes.h, densities.h, spreads.h, ratios.h,
empirical.h, ranks.h); here they are functions on arrays. They take signals (R, N, A) in float32 or
float64, membership (R, N) and the sets of models that targets do without (`Dropped`), themselves
and the rest of their tuples; what the targets of one set share is computed once. Moments of both
groups are taken around their own mean in two passes, and the dropped models are taken out of the
sums. Where taking out would cancel more than six digits (an outlier that carried nearly all the
variance), the sum is done again without it. NaN and the order of sums matter: no result depends on
the number of threads or the level of the processor.

Where no kernels are at hand attacks call their `run` target by target instead, which is the readable
definition of each score.
"""

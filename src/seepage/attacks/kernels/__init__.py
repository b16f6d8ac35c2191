"""Leave-one-out in one pass: every model the target once, at memory speed.

All kernels take signals (R, N, A) in float32 or float64, membership (R, N) and what targets do
without, themselves and the rest of their tuples: `drop` (E, K) with −1 for none and `which` (R,),
the row of `drop` of each target (those of a tuple share one), or `drop` (R, K) target by target.
They compute the moments of both groups around their own mean in two passes, and take the dropped
models out of the sums. Where taking out would cancel more than six digits (an outlier that carried
nearly all the variance), the sum is done again without it. No fastmath: NaN and the order of sums
matter. Blocks of samples are fixed, so that results do not depend on the number of threads.

`lanes` holds a block of samples side by side, so that one instruction does several; `densities`
and `spreads` build on it. `samplewise` goes sample by sample.
"""

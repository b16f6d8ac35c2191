/* Scores of one ROC curve by side, a range of them at a time, and the pairs that members win. */

/* Scores (n,) in (low, high), or in (low, inf] with `top`: members from the front of kept (room,),
 * non-members from its end, either in their order. found: members, non-members in the range, then
 * those equal to low. What does not fit is counted and not kept. */
EXPORTED int LEVEL(side_scores)(const double *restrict scores, const uint8_t *restrict member,
                                int64_t count, double low, double high, int64_t top, int64_t room,
                                double *restrict kept, int64_t *restrict found) {
  int64_t inside = 0, outside = 0, equal_in = 0, equal_out = 0;
  for (int64_t i = 0; i < count; i++) {
    double x = scores[i];
    int64_t y = member[i] != 0;
    int64_t in_range = (x > low) & ((x < high) | (top != 0));
    int64_t equal = x == low;
    equal_in += equal & y;
    equal_out += equal & (1 - y);
    /* Written wherever there is room, and kept where it counts: no branch on random membership. */
    if (inside + outside < room) kept[y ? inside : room - 1 - outside] = x;
    inside += in_range & y;
    outside += in_range & (1 - y);
  }
  found[0] = inside;
  found[1] = outside;
  found[2] = equal_in;
  found[3] = equal_out;
  return 0;
}

/* Of ascending members (n,) and non-members (m,): twice the pairs in which the member's score is
 * higher, ties counting half -> twice (1,). One walk along both. */
EXPORTED int LEVEL(pairs_won)(const double *restrict inside, int64_t n_in,
                              const double *restrict outside, int64_t n_out,
                              int64_t *restrict twice) {
  int64_t below = 0, at_most = 0, sum = 0;
  for (int64_t i = 0; i < n_in; i++) {
    double x = inside[i];
    while (below < n_out && outside[below] < x) below++;
    if (at_most < below) at_most = below;
    while (at_most < n_out && outside[at_most] <= x) at_most++;
    sum += below + at_most;
  }
  twice[0] = sum;
  return 0;
}

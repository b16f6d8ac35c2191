/* Batches of images: PIXEL is the type of a value, CUT the name of the kernel for it.
 *
 * Included once for each type.
 */

/* out[b] = scale·(pixels[rows[b]] mirrored if flip[b], moved by (dy[b], dx[b])) + shift for images
 * [first, last) of a batch: pixels (N, H, W, C), scale, shift (C,) -> out (B, H, W, C). What moves in
 * from outside is pixel value 0. A line of an image is one run of values. */
EXPORTED int CUT(const PIXEL *restrict pixels, const int64_t *restrict rows,
                        const int64_t *restrict dy, const int64_t *restrict dx,
                        const uint8_t *restrict flip, const float *restrict scale,
                        const float *restrict shift, int64_t height, int64_t width,
                        int64_t channels, int64_t first, int64_t last, float *restrict out) {
  int64_t line = width * channels;
  char *room = malloc((size_t)line * (2 * sizeof(float) + sizeof(PIXEL)));
  if (line && !room) return 1;
  float *restrict scales = (float *)room, *restrict shifts = scales + line;
  PIXEL *restrict mirrored = (PIXEL *)(shifts + line);
  for (int64_t i = 0; i < line; i++) {
    scales[i] = scale[i % channels];
    shifts[i] = shift[i % channels];
  }
  for (int64_t b = first; b < last; b++) {
    const PIXEL *image = pixels + rows[b] * height * line;
    /* Columns [from, to) of the output come from the image. */
    int64_t from = dx[b] < 0 ? -dx[b] : 0, to = dx[b] > 0 ? width - dx[b] : width;
    if (from > width) from = width;
    if (to < from) to = from;
    for (int64_t r = 0; r < height; r++) {
      float *restrict target = out + (b * height + r) * line;
      int64_t from_r = r + dy[b];
      if (from_r < 0 || from_r >= height) {
        memcpy(target, shifts, (size_t)line * sizeof(float));
        continue;
      }
      const PIXEL *source = image + from_r * line;
      if (flip[b]) {
        const PIXEL *end = source + line;
        if (channels == 1) /* the usual two without a loop over channels */
          for (int64_t c = 0; c < width; c++) mirrored[c] = end[-1 - c];
        else if (channels == 3)
          for (int64_t i = 0; i < line; i += 3) {
            mirrored[i] = end[-3 - i];
            mirrored[i + 1] = end[-2 - i];
            mirrored[i + 2] = end[-1 - i];
          }
        else
          for (int64_t i = 0; i < line; i += channels)
            memcpy(mirrored + i, end - channels - i, (size_t)channels * sizeof(PIXEL));
        source = mirrored;
      }
      memcpy(target, shifts, (size_t)(from * channels) * sizeof(float));
      memcpy(target + to * channels, shifts, (size_t)((width - to) * channels) * sizeof(float));
      const PIXEL *moved = source + dx[b] * channels;
      for (int64_t i = from * channels; i < to * channels; i++)
        target[i] = (float)moved[i] * scales[i] + shifts[i];
    }
  }
  free(room);
  return 0;
}

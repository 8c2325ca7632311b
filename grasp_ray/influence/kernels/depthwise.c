/* Per-example gradients of a convolution with one kernel per channel, stride 1 and no dilation:

       gradient[b, c, ky, kx] = sum over y, x of input[b, c, y + ky - py, x + kx - px] * delta[b, c, y, x]

   LANES channels of one example at a time are packed position by position, the input with its zero margin, so that
   neither the order of the channels in memory nor an edge matters afterwards. Sums are kept in registers along a
   row of the output, and in the first-level cache over rows. */

#include "vectors.h"

#define KERNEL_COLUMNS 7 /* summed at once */

typedef struct {
    int64_t height, width, kernel_height, kernel_width, top, left;
} geometry;

static int64_t out_height(const geometry *g) { return g->height + 2 * g->top - g->kernel_height + 1; }

static int64_t out_width(const geometry *g) { return g->width + 2 * g->left - g->kernel_width + 1; }

static int64_t margined_width(const geometry *g) { return g->width + 2 * g->left; }

/* Add the products of one row of the output to `count` columns of the kernel. */
static inline __attribute__((always_inline)) void add_row(const float *input, const float *delta, int64_t width,
                                                          int count, float *sums) {
    vec sum[KERNEL_COLUMNS];
    UNROLL for (int k = 0; k < count; k++) sum[k] = (vec){0};
    for (int64_t x = 0; x < width; x++) {
        const vec d = *(const vec *)(delta + x * LANES);
        UNROLL for (int k = 0; k < count; k++) sum[k] += d * *(const vec *)(input + (x + k) * LANES);
    }
    UNROLL for (int k = 0; k < count; k++) *(vec *)(sums + k * LANES) += sum[k];
}

/* sums[ky, kx, lane] from LANES packed channels of one example. */
static void sum_channels(const float *input, const float *delta, const geometry *g, float *sums) {
    const int64_t width = out_width(g);
    memset(sums, 0, sizeof(float) * g->kernel_height * g->kernel_width * LANES);
    for (int64_t ky = 0; ky < g->kernel_height; ky++)
        for (int64_t y = 0; y < out_height(g); y++) {
            const float *row = input + (y + ky) * margined_width(g) * LANES, *d = delta + y * width * LANES;
            float *into = sums + ky * g->kernel_width * LANES;
            int64_t kx = 0;
            for (; kx + 7 <= g->kernel_width; kx += 7) add_row(row + kx * LANES, d, width, 7, into + kx * LANES);
            for (; kx + 3 <= g->kernel_width; kx += 3) add_row(row + kx * LANES, d, width, 3, into + kx * LANES);
            for (; kx < g->kernel_width; kx++) add_row(row + kx * LANES, d, width, 1, into + kx * LANES);
        }
}

/* The floats of `room`. sizes: height and width of the input, of the kernel, and of the margin. */
int64_t room_floats(const int64_t *sizes) {
    const geometry g = {sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5]};
    const int64_t input = (g.height + 2 * g.top) * margined_width(&g), delta = out_height(&g) * out_width(&g);
    return (input + g.width + delta + g.kernel_height * g.kernel_width) * LANES;
}

/* strides: example, position and channel of the input, then of delta, in floats. gradients: [B, C, kh, kw]. */
void depthwise(int64_t examples, int64_t channels, const int64_t *sizes, const float *input, const float *delta,
               const int64_t *strides, float *room, float *gradients) {
    const geometry g = {sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5]};
    const factor inputs = {input, strides[0], strides[1], strides[2], channels};
    const factor deltas = {delta, strides[3], strides[4], strides[5], channels};
    const int64_t taps = g.kernel_height * g.kernel_width, row = margined_width(&g) * LANES;
    float *margined = room, *deltas_packed = margined + (g.height + 2 * g.top) * row;
    float *sums = deltas_packed + out_height(&g) * out_width(&g) * LANES;
    memset(margined, 0, sizeof(float) * (g.height + 2 * g.top) * row);
    for (int64_t b = 0; b < examples; b++)
        for (int64_t c = 0; c < channels; c += LANES) {
            for (int64_t y = 0; y < g.height; y++) {
                const factor line = {inputs.data + y * g.width * inputs.position, inputs.example, inputs.position,
                                     inputs.entry, channels};
                pack(&line, b, g.width, c, LANES, margined + (y + g.top) * row + g.left * LANES);
            }
            pack(&deltas, b, out_height(&g) * out_width(&g), c, LANES, deltas_packed);
            sum_channels(margined, deltas_packed, &g, sums);
            for (int64_t lane = 0; lane < least(LANES, channels - c); lane++)
                for (int64_t k = 0; k < taps; k++)
                    gradients[(b * channels + c + lane) * taps + k] = sums[k * LANES + lane];
        }
}

/* What the kernels share: the processor's vectors, and strided activations packed into rows of them.

   C11 with GCC's vector types (clang has them too); compiled.py builds it for the machine that it runs on. */

#pragma once

#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#define LANES 16
#define ROWS 8 /* 24 of 32 registers hold the tile */
#define IMAGES 8
#elif defined(__AVX2__) && defined(__FMA__)
#define LANES 8
#define ROWS 4 /* 12 of 16 registers */
#define IMAGES 4
#else
#error "needs AVX-512, or AVX2 with FMA"
#endif
#define LINE 16 /* floats of a cache line */

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

/* Loops over registers must be written out, or the sums would live in memory. */
#define UNROLL _Pragma("GCC unroll 8")

/* A strided [B, T, entries] view of activations. */
typedef struct {
    const float *data;
    int64_t example, position, entry; /* strides in floats */
    int64_t entries;
} factor;

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

static inline int64_t padded(int64_t size, int64_t step) { return (size + step - 1) / step * step; }

/* `count` rows of `width` floats, one after the other. */
static inline __attribute__((always_inline)) void copy_rows(const float *from, int64_t stride, int64_t count,
                                                            int width, float *out) {
    for (int64_t row = 0; row < count; row++) __builtin_memcpy(out + row * width, from + row * stride, 4 * width);
}

/* The same with zeros beyond `there`. The usual widths are written out, so that no function is called per row. */
static inline void pack_rows(const float *from, int64_t stride, int64_t count, int64_t there, int width, float *out) {
    if (there < width) {
        memset(out, 0, sizeof(float) * count * width);
        for (int64_t row = 0; row < count; row++) memcpy(out + row * width, from + row * stride, 4 * there);
    } else if (width == 3 * LANES)
        copy_rows(from, stride, count, 3 * LANES, out);
    else if (width == 2 * LANES)
        copy_rows(from, stride, count, 2 * LANES, out);
    else if (width == LANES)
        copy_rows(from, stride, count, LANES, out);
    else
        copy_rows(from, stride, count, ROWS, out);
}

/* out[t, 0 .. width) = entries first .. first + width of one example, padded with zeros. */
static inline void pack(const factor *from, int64_t example, int64_t positions, int64_t first, int width, float *out) {
    const float *data = from->data + example * from->example + first * from->entry;
    const int64_t there = least(width, from->entries - first);
    if (from->entry == 1) {
        pack_rows(data, from->position, positions, there, width, out);
        return;
    }
    if (there < width) memset(out, 0, sizeof(float) * positions * width);
    for (int64_t t = 0; t < positions; t += LINE) /* so that lines along the positions are read once */
        for (int j = 0; j < there; j++)
            for (int64_t s = t; s < least(t + LINE, positions); s++)
                out[s * width + j] = data[s * from->position + j * from->entry];
}

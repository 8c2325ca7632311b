/* Form per-example weight gradients tile by tile, and contract each tile while it is in the first-level cache.

   For every example b, whose gradient is the [R, C] matrix g = sum over t of down[b, t, :] x across[b, t, :],

       dots[b, m] += <query_m, g>      own[b] += <weights, g * g>      norms[b] += <g, g>

   The gradient of all examples never exists, nor does that of one: a tile of ROWS x COLUMNS entries is summed in
   registers over all positions t, kept for IMAGES examples, and multiplied with the same tile of every query. The
   queries lie in the order in which tiles are met, weights first (`pack_queries`). Tiles at an edge are padded with
   zeros, which add nothing. Sums are kept lane by lane in float32 over the tiles of one matrix and a group of
   examples, and handed over in float64. */

#include "vectors.h"

#define VECTORS 3
#define COLUMNS (VECTORS * LANES)
#define TILE (ROWS * COLUMNS)
#define QUERIES 3                /* at most so many are multiplied with IMAGES tiles at once */
#define ACROSS_BYTES (384 << 10) /* packed columns, read again for every row of tiles */
#define DOWN_BYTES (4 << 20)     /* packed rows, read again for every column of tiles */
#define READING 160              /* what reading an entry of the queries costs, in multiplications */

typedef struct {
    int64_t examples, positions, queries;
    factor down, across;
    const float *gradients; /* [B, R, C], formed already, instead of down and across; or NULL */
    const float *packed;    /* by pack_queries */
    double *dots;           /* [B, M] */
    double *own, *norms;    /* [B] */
} task;

/* Memory that is used again, and for how much at once. */
typedef struct {
    int64_t group, strip; /* examples and rows that are packed at once */
    int64_t sums;         /* floats of one example's lanes: own, norm and every query */
    float *down, *across, *tiles, *lanes;
} bench;

typedef struct {
    int64_t row, column;
    int vectors;
} place;

/* Examples that share each reading of the queries: as the cache holds, or more where reading would cost more. */
static int64_t group_size(int64_t examples, int64_t positions, int64_t queries) {
    if (positions == 0) return examples;
    int64_t fitting = ACROSS_BYTES / (int64_t)(sizeof(float) * COLUMNS * positions);
    int64_t worthwhile = READING * queries / (positions + queries);
    return least(examples, padded(fitting > worthwhile ? fitting : worthwhile + 1, IMAGES));
}

static int64_t strip_size(int64_t group, int64_t positions, int64_t rows) {
    if (positions == 0) return padded(rows, ROWS);
    int64_t fitting = DOWN_BYTES / (int64_t)(sizeof(float) * group * positions);
    return least(padded(rows, ROWS), padded(fitting + 1, ROWS));
}

/* Vectors across the next tile: three, or two and two where one would be left over. */
static int tile_vectors(int64_t columns_left) {
    int64_t left = (columns_left + LANES - 1) / LANES;
    return left == 4 ? 2 : (int)least(left, VECTORS);
}

/* Floats of one packed tile, weights and all queries. */
static int64_t packed_tile(int64_t queries, int64_t width) { return (queries + 1) * ROWS * width; }

/* Where the packed tile at a place lies: columns of tiles follow each other, each from top to bottom. */
static int64_t packed_offset(int64_t queries, int64_t rows, place at) {
    const int64_t width = at.vectors * LANES;
    return packed_tile(queries, at.column) * (padded(rows, ROWS) / ROWS) + packed_tile(queries, width) * (at.row / ROWS);
}

/* Lay the bench out in `room`, which begins at a cache line; returns the floats that it takes. Without room it is
   only measured. */
static int64_t lay_out(bench *at, int64_t examples, int64_t positions, int64_t rows, int64_t queries, float *room) {
    at->group = group_size(examples, positions, queries);
    at->strip = strip_size(at->group, positions, rows);
    at->sums = (queries + 2) * LANES;
    const int64_t sizes[] = {at->group * positions * at->strip, at->group * positions * COLUMNS, IMAGES * TILE,
                             padded(at->group, IMAGES) * at->sums};
    float **parts[] = {&at->down, &at->across, &at->tiles, &at->lanes};
    int64_t floats = 0;
    for (int part = 0; part < 4; part++) {
        if (room) *parts[part] = room + floats;
        floats += padded(sizes[part], LINE);
    }
    return floats;
}

/* One tile of an [R, C] matrix, padded with zeros. */
static void pack_tile(const float *matrix, int64_t rows, int64_t columns, place at, float *out) {
    const int64_t height = least(ROWS, rows - at.row), width = at.vectors * LANES;
    if (height < ROWS) memset(out, 0, sizeof(float) * ROWS * width);
    pack_rows(matrix + at.row * columns + at.column, columns, height, least(width, columns - at.column), width, out);
}

/* tile = sum over t of down[t, :] x across[t, :], both packed. */
static inline __attribute__((always_inline)) void form(const float *down, const float *across, int64_t positions,
                                                       int vectors, float *tile) {
    vec sum[ROWS][VECTORS];
    UNROLL for (int r = 0; r < ROWS; r++) UNROLL for (int v = 0; v < vectors; v++) sum[r][v] = (vec){0};
    for (int64_t t = 0; t < positions; t++, down += ROWS, across += vectors * LANES) {
        vec x[VECTORS];
        UNROLL for (int v = 0; v < vectors; v++) x[v] = *(const vec *)(across + v * LANES);
        UNROLL for (int r = 0; r < ROWS; r++) UNROLL for (int v = 0; v < vectors; v++) sum[r][v] += down[r] * x[v];
    }
    UNROLL for (int r = 0; r < ROWS; r++) UNROLL for (int v = 0; v < vectors; v++)
        *(vec *)(tile + (r * vectors + v) * LANES) = sum[r][v];
}

/* sums[image, query] += tile[image] * query, lane by lane. */
static inline __attribute__((always_inline)) void dot(const float *tiles, const float *queries, int64_t entries,
                                                      int images, int count, float *sums, int64_t image_stride) {
    vec sum[IMAGES][QUERIES];
    UNROLL for (int i = 0; i < images; i++) UNROLL for (int m = 0; m < count; m++)
        sum[i][m] = *(vec *)(sums + i * image_stride + m * LANES);
    for (int64_t n = 0; n < entries; n += LANES) {
        vec q[QUERIES];
        UNROLL for (int m = 0; m < count; m++) q[m] = *(const vec *)(queries + m * entries + n);
        UNROLL for (int i = 0; i < images; i++) {
            vec g = *(const vec *)(tiles + i * TILE + n);
            __asm__("" : "+v"(g)); /* loaded once, not once per query */
            UNROLL for (int m = 0; m < count; m++) sum[i][m] += g * q[m];
        }
    }
    UNROLL for (int i = 0; i < images; i++) UNROLL for (int m = 0; m < count; m++)
        *(vec *)(sums + i * image_stride + m * LANES) = sum[i][m];
}

/* `dot` of the next QUERIES queries, or as many as are left, with the usual counts written out. */
static void dot_some(const float *tiles, const float *queries, int64_t entries, int64_t images, int64_t left,
                     float *sums, int64_t image_stride) {
    if (left >= 3 && images > IMAGES / 2)
        dot(tiles, queries, entries, IMAGES, 3, sums, image_stride);
    else if (left >= 3)
        dot(tiles, queries, entries, IMAGES / 2, 3, sums, image_stride);
    else if (left == 2)
        dot(tiles, queries, entries, IMAGES, 2, sums, image_stride);
    else
        dot(tiles, queries, entries, IMAGES, 1, sums, image_stride);
}

/* sums[image] += weights * tile^2, and tile^2 beside it. */
static void square(const float *tiles, const float *weights, int64_t entries, float *sums, int64_t image_stride) {
    vec own[IMAGES], norm[IMAGES];
    UNROLL for (int i = 0; i < IMAGES; i++) own[i] = norm[i] = (vec){0};
    for (int64_t n = 0; n < entries; n += LANES) {
        vec w = *(const vec *)(weights + n);
        UNROLL for (int i = 0; i < IMAGES; i++) {
            vec g = *(const vec *)(tiles + i * TILE + n), squared = g * g;
            own[i] += w * squared;
            norm[i] += squared;
        }
    }
    UNROLL for (int i = 0; i < IMAGES; i++) {
        *(vec *)(sums + i * image_stride) += own[i];
        *(vec *)(sums + i * image_stride + LANES) += norm[i];
    }
}

/* The tile of one example from its packed rows and columns. */
static void form_tile(const float *down, const float *across, int64_t positions, int vectors, float *tile) {
    if (vectors == 3)
        form(down, across, positions, 3, tile);
    else if (vectors == 2)
        form(down, across, positions, 2, tile);
    else
        form(down, across, positions, 1, tile);
}

/* The tiles of IMAGES examples from `first` + b on; zeros for those that are not there. */
static void make_tiles(const task *job, const bench *with, place at, const float *down, int64_t first, int64_t b,
                       int64_t there) {
    const int64_t rows = job->down.entries, columns = job->across.entries, positions = job->positions;
    for (int64_t i = 0; i < IMAGES; i++) {
        float *tile = with->tiles + i * TILE;
        if (i >= there)
            memset(tile, 0, sizeof(float) * TILE);
        else if (job->gradients)
            pack_tile(job->gradients + (first + b + i) * rows * columns, rows, columns, at, tile);
        else
            form_tile(down + (b + i) * positions * ROWS, with->across + (b + i) * positions * at.vectors * LANES,
                      positions, at.vectors, tile);
    }
}

/* One tile of all examples of a group. `down` holds its packed rows. */
static void contract_tile(const task *job, const bench *with, place at, const float *down, int64_t first,
                          int64_t here) {
    const int64_t queries = job->queries, entries = ROWS * at.vectors * LANES;
    const int64_t size = packed_tile(queries, at.vectors * LANES);
    const int64_t calls = padded(here, IMAGES) / IMAGES * (padded(queries, QUERIES) / QUERIES);
    const float *weights = job->packed + packed_offset(queries, job->down.entries, at), *query = weights + entries;
    const float *next = weights + size; /* of the next tile, what was not yet brought nearer */
    int64_t done = 0;
    for (int64_t b = 0; b < here; b += IMAGES) {
        const int64_t there = least(IMAGES, here - b);
        float *sums = with->lanes + b * with->sums, *dots = sums + 2 * LANES;
        make_tiles(job, with, at, down, first, b, there);
        square(with->tiles, weights, entries, sums, with->sums);
        for (int64_t m = 0; m < queries; m += QUERIES) {
            for (const float *end = weights + size + ++done * size / calls; next < end; next += LINE)
                __builtin_prefetch(next, 0, 2);
            dot_some(with->tiles, query + m * entries, entries, there, queries - m, dots + m * LANES, with->sums);
        }
    }
}

/* Some rows of all examples of a group. */
static void contract_strip(const task *job, const bench *with, int64_t first, int64_t here, int64_t top) {
    const int64_t positions = job->positions;
    const int64_t panels = (least(with->strip, job->down.entries - top) + ROWS - 1) / ROWS;
    if (!job->gradients)
        for (int64_t p = 0; p < panels; p++)
            for (int64_t b = 0; b < here; b++)
                pack(&job->down, first + b, positions, top + p * ROWS, ROWS,
                     with->down + (p * here + b) * positions * ROWS);
    place at = {top, 0, 0};
    for (; at.column < job->across.entries; at.column += at.vectors * LANES) {
        at.vectors = tile_vectors(job->across.entries - at.column);
        const int width = at.vectors * LANES;
        if (!job->gradients)
            for (int64_t b = 0; b < here; b++)
                pack(&job->across, first + b, positions, at.column, width, with->across + b * positions * width);
        for (int64_t p = 0; p < panels; p++) {
            at.row = top + p * ROWS;
            contract_tile(job, with, at, with->down + p * here * positions * ROWS, first, here);
        }
    }
}

static double lane_sum(const float *lanes) {
    double sum = 0;
    for (int lane = 0; lane < LANES; lane++) sum += lanes[lane];
    return sum;
}

static void contract_all(const task *job, float *room) {
    const int64_t rows = job->down.entries, queries = job->queries;
    bench with;
    lay_out(&with, job->examples, job->positions, rows, queries, room);
    for (int64_t first = 0; first < job->examples; first += with.group) {
        const int64_t here = least(with.group, job->examples - first);
        memset(with.lanes, 0, sizeof(float) * padded(here, IMAGES) * with.sums);
        for (int64_t top = 0; top < rows; top += with.strip) contract_strip(job, &with, first, here, top);
        for (int64_t b = 0; b < here; b++) {
            const float *sums = with.lanes + b * with.sums;
            job->own[first + b] += lane_sum(sums);
            job->norms[first + b] += lane_sum(sums + LANES);
            for (int64_t m = 0; m < queries; m++)
                job->dots[(first + b) * queries + m] += lane_sum(sums + (m + 2) * LANES);
        }
    }
}

/* --- what contraction.py calls. sizes: R, C ---------------------------------------------------------------- */

/* Floats of `room`; positions 0 for formed gradients. */
int64_t room_floats(int64_t examples, int64_t positions, int64_t queries, const int64_t *sizes) {
    bench measured;
    return lay_out(&measured, examples, positions, sizes[0], queries, NULL);
}

int64_t packed_floats(int64_t queries, const int64_t *sizes) {
    return packed_tile(queries, padded(sizes[1], LANES)) * (padded(sizes[0], ROWS) / ROWS);
}

/* query: [M, R, C]; weights: [R, C]. `packed` must hold zeros. */
void pack_queries(int64_t queries, const int64_t *sizes, const float *query, const float *weights, float *packed) {
    const int64_t rows = sizes[0], columns = sizes[1];
    place at = {0, 0, 0};
    for (; at.column < columns; at.column += at.vectors * LANES) {
        at.vectors = tile_vectors(columns - at.column);
        for (at.row = 0; at.row < rows; at.row += ROWS) {
            float *out = packed + packed_offset(queries, rows, at);
            pack_tile(weights, rows, columns, at, out);
            for (int64_t m = 0; m < queries; m++)
                pack_tile(query + m * rows * columns, rows, columns, at, out + (m + 1) * ROWS * at.vectors * LANES);
        }
    }
}

/* strides: example, position and entry of down, then of across, in floats. */
void contract(int64_t examples, int64_t positions, int64_t queries, const int64_t *sizes, const float *down,
              const float *across, const int64_t *strides, const float *packed, float *room, double *dots,
              double *own, double *norms) {
    const factor down_factor = {down, strides[0], strides[1], strides[2], sizes[0]};
    const factor across_factor = {across, strides[3], strides[4], strides[5], sizes[1]};
    const task job = {examples, positions, queries, down_factor, across_factor, NULL, packed, dots, own, norms};
    contract_all(&job, room);
}

/* gradients: [B, R, C]. */
void contract_formed(int64_t examples, int64_t queries, const int64_t *sizes, const float *gradients,
                     const float *packed, float *room, double *dots, double *own, double *norms) {
    const factor rows = {.entries = sizes[0]}, columns = {.entries = sizes[1]};
    const task job = {examples, 0, queries, rows, columns, gradients, packed, dots, own, norms};
    contract_all(&job, room);
}

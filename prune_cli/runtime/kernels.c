/* Sparse layers on a CPU: Y = X Wᵀ + b over the survivors of W, and its gradients.

   Tokens (rows of X) are worked on in tiles of some dozens. A tile of activations lies features first, so one feature of
   all its tokens is a few vector registers: an output row is summed in registers over the row's survivors, an input
   column's gradient over the column's survivors, and there is no barrier within a tile. Threads share tiles. Each sums
   the gradients of weights and biases apart, and the sums are added in the order of the threads: as many threads give
   the same bits.

   kernels.inc has the work, included once for each type and instruction set; the machine's is chosen at run time.
   This file needs no header of Python or torch; parallel regions are those of the OpenMP library that `use_threads` is
   handed, so that there is one pool of threads in the process, torch's. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(_WIN32)
#define API __declspec(dllexport)
#else
#define API __attribute__((visibility("default")))
#endif
#define INLINE static inline __attribute__((always_inline))
#define ALIGNMENT 64

/* The survivors of a weight of rows × columns, by rows and by columns; places: where the survivors in the order of
   columns stand in the order of rows. */
struct pattern {
    int64_t rows, columns;
    const int32_t *row_starts, *column_starts, *places;
    const uint16_t *columns_of_rows, *rows_of_columns;
};

/* Activations: groups of `tokens` tokens each, strides in elements. Either features or tokens have the stride 1. */
struct activations {
    void *data;
    int64_t tokens, group_stride, token_stride, feature_stride;
};

/* One call; gradients that are not wanted are null. */
struct product {
    const struct pattern *pattern;
    const void *values, *bias;
    struct activations x, y, x_gradient;
    void *value_gradients, *bias_gradients;
    int64_t tokens, threads;
};

typedef void (*parallel)(void (*work)(void *), void *data, unsigned threads, unsigned flags);
static parallel run_parallel;

/* parts pieces of work, whichever thread takes which */
struct job {
    void (*part)(const struct product *, int64_t part, int64_t parts, void *scratch);
    const struct product *product;
    void *scratch;
    int64_t parts, next;
};

static void take_parts(void *data) {
    struct job *job = data;
    int64_t part;
    while ((part = __atomic_fetch_add(&job->next, 1, __ATOMIC_RELAXED)) < job->parts)
        job->part(job->product, part, job->parts, job->scratch);
}

static void run(struct job *job) {
    if (run_parallel && job->parts > 1)
        run_parallel(take_parts, job, (unsigned)job->parts, 0);
    else
        take_parts(job);
}

/* The calling thread's scratch memory, aligned; null where there is none. It is kept for the next call. */
static void *scratch_of_thread(size_t bytes) {
    static __thread char *held;
    static __thread size_t size;
    if (size < bytes) {
        free(held);
        held = malloc(bytes + ALIGNMENT);
        size = held ? bytes : 0;
    }
    return held ? (void *)(((uintptr_t)held + ALIGNMENT - 1) & ~(uintptr_t)(ALIGNMENT - 1)) : NULL;
}

INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

#define JOIN_(a, b, c) a##_##b##_##c
#define JOIN(a, b, c) JOIN_(a, b, c)
#define NAME(what) JOIN(what, TYPE, SET)

#define SET plain
#define VECTOR 16
#include "types.inc"

#if defined(__x86_64__)
#define WITH_SETS 1
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#define SET avx2
#define VECTOR 32
#include "types.inc"
#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx2,fma,avx512f,avx512vl,avx512dq,prefer-vector-width=512"))), apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx2,fma,avx512f,avx512vl,avx512dq,prefer-vector-width=512")
#endif
#define SET avx512
#define VECTOR 64
#include "types.inc"
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

static int chosen; /* 0 plain, 1 avx2, 2 avx512 */

API void use_threads(parallel function) { run_parallel = function; }

/* Choose the best instruction set that this machine has, `most` at most; returns it. */
API int use_set(int most) {
    chosen = 0;
#ifdef WITH_SETS
    __builtin_cpu_init();
    if (most >= 1 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) chosen = 1;
    if (most >= 2 && chosen && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq"))
        chosen = 2;
#endif
    return chosen;
}

#ifdef WITH_SETS
#define CHOOSE(what, type, p) \
    (chosen == 2 ? what##_##type##_avx512(p) : chosen == 1 ? what##_##type##_avx2(p) : what##_##type##_plain(p))
#else
#define CHOOSE(what, type, p) what##_##type##_plain(p)
#endif

/* y = x Wᵀ + bias. Returns 0, or 1 where memory is short. */
API int forward_float(const struct product *p) { return CHOOSE(forward, float, p); }
API int forward_double(const struct product *p) { return CHOOSE(forward, double, p); }

/* From the gradient y: those of x, of the values and of the bias, each where it is wanted. Returns as forward does. */
API int backward_float(const struct product *p) { return CHOOSE(backward, float, p); }
API int backward_double(const struct product *p) { return CHOOSE(backward, double, p); }

/* Sparse layers on a CPU: Y = X Wᵀ + b over the survivors of W, with its gradients; two of them around a GELU; and attention.

   Tokens (rows of X) are worked on in tiles of some dozens. A tile of activations lies features first, so one feature of
   all its tokens is a few vector registers: an output row is summed in registers over the row's survivors, an input
   column's gradient over the column's survivors, and there is no barrier within a tile. Threads share tiles. Each sums
   the gradients of weights and biases apart, and the sums are added in the order of the threads: as many threads give
   the same bits.

   tile.inc, product.inc, mlp.inc and attention.inc have the work, included once for each type and instruction set; the machine's set
   is chosen at run time. This file needs no header of Python or torch; parallel regions are those of the
   OpenMP library that `use_threads` is handed, so that there is one pool of threads in the process, torch's. */

#include <math.h>
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

/* A layer: its weight and bias, and where their gradients go; what is not there or not wanted is null. */
struct layer {
    const struct pattern *pattern;
    const void *values, *bias;
    void *value_gradients, *bias_gradients;
};

/* One call, of one layer, or of two around a GELU. y is the output, or the output's gradient. */
struct call {
    struct layer first, second;
    struct activations x, y, x_gradient;
    int64_t tokens, threads;
};

typedef void (*parallel)(void (*work)(void *), void *data, unsigned threads, unsigned flags);
static parallel run_parallel;

/* Attention of images × heads, each over `tokens` tokens of `features` features: qkv as (images, tokens, 3, heads, features),
   out as (images, tokens, heads, features). With qkv_gradient, which is laid out as qkv, out is its own gradient. */
struct attention {
    const void *qkv;
    void *out, *qkv_gradient;
    int64_t images, tokens, heads, features, threads;
    double scale;
};

/* `parts` pieces of a call, whichever thread takes which */
struct job {
    void (*part)(const void *call, int64_t part, int64_t parts, void *shared);
    const void *call;
    void *shared;
    int64_t parts, next;
};

static void take_parts(void *data) {
    struct job *job = data;
    int64_t part;
    while ((part = __atomic_fetch_add(&job->next, 1, __ATOMIC_RELAXED)) < job->parts)
        job->part(job->call, part, job->parts, job->shared);
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
INLINE int64_t most(int64_t a, int64_t b) { return a < b ? b : a; }
INLINE int64_t survivors(const struct pattern *w) { return w->row_starts[w->rows]; }

/* How many survivors the fullest column has. */
static int64_t fullest(const struct pattern *w) {
    int64_t found = 0;
    for (int64_t c = 0; c < w->columns; c++) found = most(found, w->column_starts[c + 1] - w->column_starts[c]);
    return found;
}

#define JOIN_(a, b, c) a##_##b##_##c
#define JOIN(a, b, c) JOIN_(a, b, c)
#define NAME(what) JOIN(what, TYPE, SET)

#define SET plain
#define VECTOR 16
#include "types.inc"

#if defined(__x86_64__)
#define WITH_SETS 1
#define PRAGMA(text) _Pragma(#text)
#if defined(__clang__)
#define BEGIN(set) PRAGMA(clang attribute push(__attribute__((target(set))), apply_to = function))
#define END _Pragma("clang attribute pop")
#else
#define BEGIN(set) _Pragma("GCC push_options") PRAGMA(GCC target(set))
#define END _Pragma("GCC pop_options")
#endif

BEGIN("avx2,fma")
#define SET avx2
#define VECTOR 32
#include "types.inc"
END
BEGIN("avx2,fma,avx512f,avx512vl,avx512dq,prefer-vector-width=512")
#define SET avx512
#define VECTOR 64
#include "types.inc"
END
#endif

static int chosen; /* 0 plain, 1 avx2, 2 avx512 */

API void use_threads(parallel function) { run_parallel = function; }

/* Choose the best instruction set that this machine has, number `highest` at most; returns it. */
API int use_set(int highest) {
    chosen = 0;
#ifdef WITH_SETS
    __builtin_cpu_init();
    if (highest >= 1 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) chosen = 1;
    if (highest >= 2 && chosen && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq"))
        chosen = 2;
#endif
    return chosen;
}

#ifdef WITH_SETS
#define CHOOSE(what, type, c) \
    (chosen == 2 ? what##_##type##_avx512(c) : chosen == 1 ? what##_##type##_avx2(c) : what##_##type##_plain(c))
#else
#define CHOOSE(what, type, c) what##_##type##_plain(c)
#endif

/* y = x Wᵀ + bias; y = GELU(x Wᵀ + bias) W'ᵀ + bias'. All return 0, or 1 where memory is short. */
API int forward_float(const struct call *c) { return CHOOSE(forward, float, c); }
API int forward_double(const struct call *c) { return CHOOSE(forward, double, c); }
API int mlp_forward_float(const struct call *c) { return CHOOSE(mlp_forward, float, c); }
API int mlp_forward_double(const struct call *c) { return CHOOSE(mlp_forward, double, c); }

/* From the gradient y those of x, of the values and of the biases: of one layer each where it is wanted, of two all. */
API int backward_float(const struct call *c) { return CHOOSE(backward, float, c); }
API int backward_double(const struct call *c) { return CHOOSE(backward, double, c); }
API int mlp_backward_float(const struct call *c) { return CHOOSE(mlp_backward, float, c); }
API int mlp_backward_double(const struct call *c) { return CHOOSE(mlp_backward, double, c); }

/* Attention, or its gradient where there is a place for that. */
API int attend_float(const struct attention *a) { return CHOOSE(attend, float, a); }
API int attend_double(const struct attention *a) { return CHOOSE(attend, double, a); }

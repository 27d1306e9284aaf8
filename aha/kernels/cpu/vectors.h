// Vectors of floats for the kernels, by the extensions that GCC and Clang share. The build says how wide they are:
// LANES is that of the instruction set, 8 or 16 (instructions.py).
#include <math.h>
#include <stdint.h>
#include <string.h>

#define W LANES // floats of a vector
#ifdef __clang__
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (ivec){__VA_ARGS__})
#endif
#if W == 16 // the first, or last, halves of two vectors, in turn
#define LOW(a, b) SHUFFLE(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define HIGH(a, b) SHUFFLE(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#else
#define LOW(a, b) SHUFFLE(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define HIGH(a, b) SHUFFLE(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#endif
#define PANEL (2 * W) // columns of a matrix, or keys, that lie together: [columns / PANEL][inner][PANEL]
#define INLINE static inline __attribute__((always_inline))
typedef float vec __attribute__((vector_size(4 * W), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(4 * W), aligned(4), may_alias));
#define AT(p) (*(vec *)(p))
#define EACH(i, n) for (int64_t i = 0; i < (n); i++)
#define EACH_VECTOR(i, n) for (int64_t i = 0; i < (n); i += W)

INLINE vec fill(float x) { return x - (vec){0}; } // x in every lane; x - 0 is x also where x is -0
INLINE vec choose(ivec is_first, vec a, vec b) { return (vec)(((ivec)a & is_first) | ((ivec)b & ~is_first)); }

INLINE float sum(vec v) { // in halves: the order is the same wherever the numbers come from
    for (int step = W / 2; step; step /= 2) EACH(i, step) v[i] += v[i + step];
    return v[0];
}

// e^x = 2^n e^r, with n the nearest integer to x / ln 2 and a polynomial for e^r. ln 2 is subtracted in two parts, since one
// float32 has too few digits for r. Relative error 2e-7; 0 below -87, where float32 ends.
INLINE vec exponential(vec x) {
    const vec low = fill(-87.0f), high = fill(88.0f), bounded = choose(x < low, low, choose(x > high, high, x));
    const ivec power = __builtin_convertvector(bounded * 1.44269504f + 127.5f, ivec); // rounded, since it is positive
    const vec n = __builtin_convertvector(power - 127, vec), r = bounded - n * 0.693145752f - n * 1.42860677e-6f;
    vec p = r * (1.0f / 720.0f) + 1.0f / 120.0f;
    p = ((((p * r + 1.0f / 24.0f) * r + 1.0f / 6.0f) * r + 0.5f) * r + 1.0f) * r + 1.0f;
    return choose(x < low, fill(0.0f), p * (vec)(power << 23));
}

INLINE int64_t padded(int64_t n) { return (n + PANEL - 1) / PANEL * PANEL; } // to whole panels

INLINE float normalise(const float *x, const float *weight, float *y, int64_t n, float eps) { // RMSNorm; 1 / rms
    vec squares = fill(0);
    EACH_VECTOR(i, n) squares += AT(x + i) * AT(x + i);
    const float scale = 1.0f / sqrtf(sum(squares) / n + eps);
    EACH_VECTOR(i, n) AT(y + i) = AT(x + i) * scale * AT(weight + i);
    return scale;
}

// c[m][n] = start + a[m][k] b[k][n] in registers, n vectors wide; rows of a are ra apart, its columns ca, and so on; without
// a start from 0. What is stored last is fetched first: it may come from far away.
INLINE void registers(const int m, const int n, int64_t k, const float *a, int64_t ra, int64_t ca, const float *b, int64_t rb, const float *start, int64_t rs, float *c, int64_t rc) {
    vec s[6][2];
    EACH(i, m) __builtin_prefetch(c + i * rc, 1);
    EACH(i, m) EACH(j, n) s[i][j] = start ? AT(start + i * rs + j * W) : fill(0);
    for (int64_t l = 0; l < k; l++, a += ca, b += rb)
        EACH(i, m) EACH(j, n) s[i][j] += a[i * ra] * AT(b + j * W);
    EACH(i, m) EACH(j, n) AT(c + i * rc + j * W) = s[i][j];
}

// The same for any number of rows and at most 2 W columns; rows of a, 6 at a time, are further apart. 6 rows of 2 vectors
// are 12 sums, which leave registers for a and b where there are 16 of them (AVX2).
INLINE void tiles(int64_t m, int64_t n, int64_t k, const float *a, int64_t apart, int64_t ra, int64_t ca, const float *b, int64_t rb, const float *start, int64_t rs, float *c, int64_t rc) {
#define TILE(M) if (n > W) registers(M, 2, k, a, ra, ca, b, rb, start, rs, c, rc); else registers(M, 1, k, a, ra, ca, b, rb, start, rs, c, rc); break;
    for (; m > 0; m -= 6, a += apart, c += 6 * rc, start = start ? start + 6 * rs : 0)
        switch (m) { case 1: TILE(1) case 2: TILE(2) case 3: TILE(3) case 4: TILE(4) case 5: TILE(5) default: TILE(6) }
}

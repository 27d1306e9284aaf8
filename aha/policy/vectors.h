// Vectors of floats for the kernels, as wide as the processor's, by the extensions that GCC and Clang share.
#include <math.h>
#include <stdint.h>
#include <string.h>

#ifdef __AVX512F__
#define W 16 // floats of a vector
#else
#define W 8
#endif
#define INLINE static inline __attribute__((always_inline))
typedef float vec __attribute__((vector_size(4 * W), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(4 * W), aligned(4), may_alias));
#define AT(p) (*(vec *)(p))
#define EACH(i, n) for (int64_t i = 0; i < (n); i++)
#define EACH_VECTOR(i, n) for (int64_t i = 0; i < (n); i += W)

INLINE vec fill(float x) { return x - (vec){0}; }
INLINE vec choose(ivec is_first, vec a, vec b) { return (vec)(((ivec)a & is_first) | ((ivec)b & ~is_first)); }

INLINE float sum(vec v) {
    for (int step = W / 2; step; step /= 2) EACH(i, step) v[i] += v[i + step];
    return v[0];
}

INLINE vec exponential(vec x) { // relative error 2e-7 in [-87, 88], and clamped to it
    x = choose(x < -87.0f, fill(-87.0f), choose(x > 88.0f, fill(88.0f), x));
    vec shifted = x * 1.44269504f + 12582912.0f, n = shifted - 12582912.0f; // n is round(x / log 2)
    vec r = x - n * 0.693145752f - n * 1.42860677e-6f, p = r * (1.0f / 720.0f) + 1.0f / 120.0f;
    p = ((((p * r + 1.0f / 24.0f) * r + 1.0f / 6.0f) * r + 0.5f) * r + 1.0f) * r + 1.0f;
    return p * (vec)(((ivec)shifted - 0x4B400000 + 127) << 23);
}

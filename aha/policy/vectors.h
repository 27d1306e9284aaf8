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

INLINE vec exponential(vec x) { // relative error 2e-7; 0 below -87, where float32 ends
    const vec low = fill(-87.0f), high = fill(88.0f), bounded = choose(x < low, low, choose(x > high, high, x));
    const ivec power = __builtin_convertvector(bounded * 1.44269504f + 127.5f, ivec); // rounded, since it is positive
    const vec n = __builtin_convertvector(power - 127, vec), r = bounded - n * 0.693145752f - n * 1.42860677e-6f;
    vec p = r * (1.0f / 720.0f) + 1.0f / 120.0f;
    p = ((((p * r + 1.0f / 24.0f) * r + 1.0f / 6.0f) * r + 0.5f) * r + 1.0f) * r + 1.0f;
    return choose(x < low, fill(0.0f), p * (vec)(power << 23));
}

int64_t lanes(void) { return W; }

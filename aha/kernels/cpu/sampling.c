// One token for each row of logits, by inversion of the cumulative distribution, and its log-probability.
//
// Exponentials are float32, their sums float64, block by block of the vocabulary: in an order that depends on nothing
// but the size of the vocabulary.
#include "vectors.h"

#define BLOCK (8 * W)

typedef double wide __attribute__((vector_size(8 * W)));

static double total(const float *x) { // of a block
    wide s = {0};
    EACH_VECTOR(i, BLOCK) s += __builtin_convertvector(AT(x + i), wide);
    for (int step = W / 2; step; step /= 2) EACH(i, step) s[i] += s[i + step];
    return s[0];
}

// logits: [num, stride], the first `count` of each row count; scratch: [count + BLOCK]
void draw(const float *logits, int64_t num, int64_t stride, int64_t count, float temperature, const double *uniforms,
          float *scratch, int64_t *tokens, float *logp) {
    int64_t last = (count - 1) / BLOCK * BLOCK, room = last + BLOCK;
    EACH(r, num) {
        const float *x = logits + r * stride;
        float *e = scratch, top = -INFINITY;
        memcpy(e, x, sizeof(float) * count);
        for (int64_t i = count; i < room; i++) e[i] = -INFINITY;
        vec best = fill(top);
        EACH_VECTOR(i, room) AT(e + i) /= temperature, best = choose(best > AT(e + i), best, AT(e + i));
        EACH(i, W) top = best[i] > top ? best[i] : top;
        EACH_VECTOR(i, room) AT(e + i) = exponential(AT(e + i) - top);
        double all = 0, reached = 0, next;
        for (int64_t b = 0; b < room; b += BLOCK) all += total(e + b);
        // Below the sum even where the product rounds to it, or a token without any probability could be drawn.
        double threshold = fmin(uniforms[r] * all, nextafter(all, 0));
        int64_t i = 0;
        for (; i < last && (next = reached + total(e + i)) <= threshold; i += BLOCK) reached = next;
        tokens[r] = i;
        for (int64_t end = i + BLOCK; i < end && reached <= threshold; i++)
            if (e[i] > 0) reached += e[i], tokens[r] = i; // what rounding leaves behind the block's end is its last token's
        logp[r] = (double)(x[tokens[r]] / temperature - top) - log(all);
    }
}

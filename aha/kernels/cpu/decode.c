// A forward pass of the policy over a batch of rows, one token each, with keys and values in segments of memory.
// Whatever is added up for a row is added up in an order that depends on that row alone: a matrix product in the order
// of its inner dimension, whatever the tile; attention in the order of the row's own sequence, however it is divided
// into segments. So a row's bits do not depend on its neighbours, and rows may be shared out among threads.
#include "vectors.h"

typedef struct { int64_t layers, width, inner, heads, shared, size; double eps; } Shape;
typedef struct { const float *norm, *qkv, *qkv_bias, *q_norm, *k_norm, *o, *o_bias, *mlp_norm, *gate_up, *down; } Layer;
typedef struct { // a row attends to three segments in turn; the last one takes its own key and value
    float *memory[3]; // [layers][shared]{keys [room / PANEL][size][PANEL], values [room][size]}
    int64_t length[3], room[3], token, position;
} Row;

// M rows times a panel; meanwhile `ahead`, a part of the next panel, comes from memory, `step` bytes with each product
INLINE void tile(const float *x, int64_t ldx, const float *w, const float *bias, float *y, int64_t ldy, int64_t k, int add, const char *ahead, int64_t step, const int M) {
    vec s[6][2];
    EACH(m, M) EACH(c, 2) s[m][c] = (add ? AT(y + m * ldy + c * W) : fill(0)) + (bias ? AT(bias + c * W) : fill(0));
    EACH(i, k) {
        __builtin_prefetch(ahead + i * step, 0, 2);
        vec first = AT(w + PANEL * i), second = AT(w + PANEL * i + W);
        EACH(m, M) s[m][0] += x[m * ldx + i] * first, s[m][1] += x[m * ldx + i] * second;
    }
    EACH(m, M) AT(y + m * ldy) = s[m][0], AT(y + m * ldy + W) = s[m][1];
}

// y [m, n] = x [m, k] w + bias, or added to what is there; n and bias are padded to whole panels
void matmul(const float *x, int64_t ldx, const float *w, const float *bias, float *y, int64_t m, int64_t n, int64_t k, int64_t add) {
    for (int64_t j = 0; j < n; j += PANEL)
        for (int64_t i = 0; i < m; i += 6) {
            int64_t tiles = (m + 5) / 6, step = (sizeof(float) * PANEL + tiles - 1) / tiles;
            const char *ahead = (const char *)(w + (j + PANEL) * k) + i / 6 * k * step;
#define TILE(M) tile(x + i * ldx, ldx, w + j * k, bias ? bias + j : 0, y + i * n + j, n, k, add, ahead, step, M)
            switch (m - i) { case 1: TILE(1); break; case 2: TILE(2); break; case 3: TILE(3); break; case 4: TILE(4); break; case 5: TILE(5); break; default: TILE(6); }
        }
}

// scores of B * W keys for H query heads; `ahead` is where the values of these keys lie
INLINE void dots(const float *q, const float *keys, int64_t ahead, float *to, int64_t stride, int64_t size, const int H, const int B) {
    vec s[2][4] = {{{0}}};
    EACH(i, size) EACH(b, B) {
        const float *key = keys + (b / 2 * size + i) * PANEL + b % 2 * W;
        __builtin_prefetch(key + ahead);
        EACH(h, H) s[h][b] += q[h * size + i] * AT(key);
    }
    EACH(h, H) EACH(b, B) AT(to + h * stride + b * W) = s[h][b];
}

// adds values, weighted by p, to C * W entries of the result for H query heads
INLINE void mix(const float *p, int64_t stride, const float *values, int64_t count, float *out, int64_t size, const int H, const int C) {
    vec s[2][4];
    EACH(h, H) EACH(c, C) s[h][c] = AT(out + h * size + c * W);
    EACH(t, count) EACH(c, C) EACH(h, H) s[h][c] += p[h * stride + t] * AT(values + t * size + c * W);
    EACH(h, H) EACH(c, C) AT(out + h * size + c * W) = s[h][c];
}

// Attention of H query heads that share a key head, so that each key and value is read once for both.
// `place`: number of the key head, counted over all layers; p: [H, stride], scores of the segments one after another.
// Whole panels are computed: scores behind a segment's end are overwritten by the next segment, or set to minus infinity.
INLINE void attend(const Shape *s, int64_t place, const Row *row, const float *q, float *p, int64_t stride, float *out, const int H) {
    int64_t n = 0, size = s->size;
    for (int g = 0; g < 3; n += row->length[g++])
        for (int64_t t = 0, ahead = row->room[g] * size; t < row->length[g];) {
            const float *keys = row->memory[g] + 2 * place * ahead + t * size;
            if (row->length[g] - t > PANEL) dots(q, keys, ahead, p + n + t, stride, size, H, 4), t += 2 * PANEL;
            else dots(q, keys, ahead, p + n + t, stride, size, H, 2), t += PANEL;
        }
    EACH(h, H) {
        float *e = p + h * stride, top = e[0];
        vec best = fill(top), all = fill(0);
        for (int64_t t = n; t % W; t++) e[t] = -INFINITY;
        EACH_VECTOR(t, n) best = choose(best > AT(e + t), best, AT(e + t));
        EACH(i, W) top = best[i] > top ? best[i] : top;
        EACH_VECTOR(t, n) AT(e + t) = exponential(AT(e + t) - top);
        EACH_VECTOR(t, n) all += AT(e + t);
        vec scale = fill(1.0f / sum(all));
        EACH_VECTOR(t, n) AT(e + t) *= scale;
    }
    memset(out, 0, sizeof(float) * H * size), n = 0;
    for (int g = 0; g < 3; n += row->length[g++])
        for (int64_t c = 0; c < size;) {
            const float *values = row->memory[g] + (2 * place + 1) * row->room[g] * size + c;
            if (size - c >= 4 * W) mix(p + n, stride, values, row->length[g], out + c, size, H, 4), c += 4 * W;
            else mix(p + n, stride, values, row->length[g], out + c, size, H, 1), c += W;
        }
}

// norms and rotation of a row's queries and keys; its key and value go where they will be attended to
static void prepare(const Shape *s, int64_t layer, const Layer *l, const Row *row, float *qkv, const float *angles) {
    int64_t size = s->size, half = size / 2, at = row->length[2] - 1, both = s->heads + s->shared;
    const float *cosine = angles + row->position * size, *sine = cosine + half;
    EACH(h, both) {
        float *x = qkv + h * size, scale = h < s->heads ? 1.0f / sqrtf(size) : 1.0f;
        const float *norm = h < s->heads ? l->q_norm : l->k_norm;
        if (norm) normalise(x, norm, x, size, s->eps);
        EACH(i, half) {
            float a = x[i] * scale, b = x[i + half] * scale;
            x[i] = a * cosine[i] - b * sine[i], x[i + half] = b * cosine[i] + a * sine[i];
        }
    }
    EACH(g, s->shared) {
        float *keys = row->memory[2] + 2 * (layer * s->shared + g) * row->room[2] * size, *k = qkv + (s->heads + g) * size;
        EACH(i, size) keys[(at / PANEL * size + i) * PANEL + at % PANEL] = k[i];
        memcpy(keys + (row->room[2] + at) * size, k + s->shared * size, sizeof(float) * size);
    }
}

static int64_t wide(const Shape *s) { return padded((s->heads + 2 * s->shared) * s->size); } // queries, keys and values

int64_t scratch_floats(const Shape *s, int64_t num, int64_t longest) { // for rows of at most `longest` keys
    return num * (2 * s->width + wide(s) + s->heads * s->size + padded(2 * s->inner)) + 2 * (longest + 5 * W);
}

// hidden: [num, width], after the last norm
void forward(const Shape *s, const Layer *layers, const float *embedding, const float *last_norm, const float *angles, const Row *rows, int64_t num, int64_t longest, float *scratch, float *hidden) {
    int64_t width = s->width, across = padded(2 * s->inner), mixes = s->heads * s->size, repeat = s->heads / s->shared;
    float *stream = scratch, *normed = stream + num * width, *qkv = normed + num * width, *mixed = qkv + num * wide(s);
    float *gates = mixed + num * mixes, *scores = gates + num * across;
    EACH(r, num) memcpy(stream + r * width, embedding + rows[r].token * width, sizeof(float) * width);
    EACH(layer, s->layers) {
        const Layer *l = layers + layer;
        EACH(r, num) normalise(stream + r * width, l->norm, normed + r * width, width, s->eps);
        matmul(normed, width, l->qkv, l->qkv_bias, qkv, num, wide(s), width, 0);
        EACH(r, num) {
            prepare(s, layer, l, rows + r, qkv + r * wide(s), angles);
            for (int64_t h = 0; h < s->heads; h += repeat % 2 ? 1 : 2) {
                float *q = qkv + r * wide(s) + h * s->size, *out = mixed + r * mixes + h * s->size;
                if (repeat % 2) attend(s, layer * s->shared + h / repeat, rows + r, q, scores, longest + 5 * W, out, 1);
                else attend(s, layer * s->shared + h / repeat, rows + r, q, scores, longest + 5 * W, out, 2);
            }
        }
        matmul(mixed, mixes, l->o, l->o_bias, stream, num, width, mixes, 1);
        EACH(r, num) normalise(stream + r * width, l->mlp_norm, normed + r * width, width, s->eps);
        matmul(normed, width, l->gate_up, 0, gates, num, across, width, 0);
        EACH(r, num) for (float *g = gates + r * across, *end = g + s->inner; g < end; g += W)
            AT(g) = AT(g) * AT(g + s->inner) / (1.0f + exponential(-AT(g))); // silu(gate) * up, in the place of gate
        matmul(gates, across, l->down, 0, stream, num, width, s->inner, 1);
    }
    EACH(r, num) normalise(stream + r * width, last_norm, hidden + r * width, width, s->eps);
}

// A forward pass of the policy over a batch of rows, one token each, with keys and values in segments of memory.
//
// Whatever is added up for a row is added up in an order that depends on that row alone: a matrix product in the order
// of its inner dimension, whatever the tile; attention in the order of the row's own sequence, however it is divided
// into segments. So a row's bits do not depend on its neighbours, and rows may be shared out among threads.
#include <math.h>
#include <stdint.h>
#include <string.h>

#ifdef __AVX512F__
#define W 16 // floats of a vector
#else
#define W 8
#endif
#define PANEL (2 * W) // columns of a weight matrix that lie together: [columns / PANEL][inner][PANEL]
#define INLINE static inline __attribute__((always_inline))
typedef float vec __attribute__((vector_size(4 * W), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(4 * W), aligned(4), may_alias));
#define AT(p) (*(vec *)(p))

typedef struct { int64_t layers, width, inner, heads, shared, size; double eps; } Shape;
typedef struct { const float *norm, *qkv, *qkv_bias, *q_norm, *k_norm, *o, *o_bias, *mlp_norm, *gate_up, *down; } Layer;
typedef struct { // a row attends to three segments in turn; the last one takes its own key and value
    float *memory[3]; // [layers][shared]{keys [room / W][size][W], values [room][size]}
    int64_t length[3], room[3], token, position;
} Row;

int64_t panel_width(void) { return PANEL; }
static int64_t padded(int64_t n) { return (n + PANEL - 1) / PANEL * PANEL; }
static vec fill(float x) { return x - (vec){0}; }
static vec choose(ivec is_first, vec a, vec b) { return (vec)(((ivec)a & is_first) | ((ivec)b & ~is_first)); }

INLINE float sum(vec v) {
    float s[W];
    AT(s) = v;
    for (int step = W / 2; step; step /= 2)
        for (int i = 0; i < step; i++) s[i] += s[i + step];
    return s[0];
}

INLINE vec exponential(vec x) { // relative error 2e-7 in [-87, 88], and clamped to it
    x = choose(x < -87.0f, fill(-87.0f), choose(x > 88.0f, fill(88.0f), x));
    vec shifted = x * 1.44269504f + 12582912.0f, n = shifted - 12582912.0f; // n is round(x / log 2)
    vec r = x - n * 0.693145752f - n * 1.42860677e-6f;
    vec p = r * (1.0f / 720.0f) + 1.0f / 120.0f;
    p = ((((p * r + 1.0f / 24.0f) * r + 1.0f / 6.0f) * r + 0.5f) * r + 1.0f) * r + 1.0f;
    return p * (vec)(((ivec)shifted - 0x4B400000 + 127) << 23);
}

INLINE void tile(const float *x, int64_t ldx, const float *w, const float *bias, float *y, int64_t ldy, int64_t k, int add, const int M) {
    vec s[6][2];
#pragma GCC unroll 6
    for (int m = 0; m < M; m++)
        for (int c = 0; c < 2; c++) s[m][c] = (add ? AT(y + m * ldy + c * W) : fill(0)) + (bias ? AT(bias + c * W) : fill(0));
    for (int64_t i = 0; i < k; i++) {
        vec first = AT(w + PANEL * i), second = AT(w + PANEL * i + W);
#pragma GCC unroll 6
        for (int m = 0; m < M; m++) {
            s[m][0] += x[m * ldx + i] * first;
            s[m][1] += x[m * ldx + i] * second;
        }
    }
#pragma GCC unroll 6
    for (int m = 0; m < M; m++) AT(y + m * ldy) = s[m][0], AT(y + m * ldy + W) = s[m][1];
}

// y [m, n] = x [m, k] w + bias, or added to what is there; n and bias are padded to whole panels
void matmul(const float *x, int64_t ldx, const float *w, const float *bias, float *y, int64_t m, int64_t n, int64_t k, int64_t add) {
    for (int64_t j = 0; j < n; j += PANEL)
        for (int64_t i = 0; i < m; i += 6) {
#define TILE(M) tile(x + i * ldx, ldx, w + j * k, bias ? bias + j : 0, y + i * n + j, n, k, add, M)
            switch (m - i) { case 1: TILE(1); break; case 2: TILE(2); break; case 3: TILE(3); break; case 4: TILE(4); break; case 5: TILE(5); break; default: TILE(6); }
        }
}

static void normalise(const float *x, const float *weight, float *y, int64_t n, float eps) { // RMSNorm
    vec squares = fill(0);
    for (int64_t i = 0; i < n; i += W) squares += AT(x + i) * AT(x + i);
    float scale = 1.0f / sqrtf(sum(squares) / n + eps);
    for (int64_t i = 0; i < n; i += W) AT(y + i) = AT(x + i) * scale * AT(weight + i);
}

static void rotate(float *x, const float *angle, int64_t half) { // angle: cosines, then sines
    for (int64_t i = 0; i < half; i++) {
        float a = x[i], b = x[i + half];
        x[i] = a * angle[i] - b * angle[half + i];
        x[i + half] = b * angle[i] + a * angle[half + i];
    }
}

INLINE void dots(const float *q, const float *keys, float *to, int64_t stride, int64_t size, const int H, const int B) {
    vec s[2][4] = {{{0}}};
    for (int64_t i = 0; i < size; i++)
#pragma GCC unroll 4
        for (int b = 0; b < B; b++)
#pragma GCC unroll 2
            for (int h = 0; h < H; h++) s[h][b] += q[h * size + i] * AT(keys + (b * size + i) * W);
    for (int h = 0; h < H; h++)
        for (int b = 0; b < B; b++) AT(to + h * stride + b * W) = s[h][b];
}

INLINE void mix(const float *p, int64_t stride, const float *values, int64_t count, float *out, int64_t size, const int H, const int C) {
    vec s[2][4];
    for (int h = 0; h < H; h++)
        for (int c = 0; c < C; c++) s[h][c] = AT(out + h * size + c * W);
    for (int64_t t = 0; t < count; t++)
#pragma GCC unroll 4
        for (int c = 0; c < C; c++)
#pragma GCC unroll 2
            for (int h = 0; h < H; h++) s[h][c] += p[h * stride + t] * AT(values + t * size + c * W);
    for (int h = 0; h < H; h++)
        for (int c = 0; c < C; c++) AT(out + h * size + c * W) = s[h][c];
}

// H query heads that share a key head; scores: [H, stride]
INLINE void attend(const Shape *s, int64_t place, const Row *row, const float *q, float *scores, int64_t stride, float *out, const int H) {
    int64_t n = 0, size = s->size;
    for (int g = 0; g < 3; n += row->length[g++])
        for (int64_t t = 0, blocks; t < row->length[g]; t += blocks * W) {
            const float *keys = row->memory[g] + 2 * place * row->room[g] * size + t * size;
            blocks = row->length[g] - t > 3 * W ? 4 : 1;
            if (blocks == 4) dots(q, keys, scores + n + t, stride, size, H, 4);
            else dots(q, keys, scores + n + t, stride, size, H, 1);
        }
    memset(out, 0, sizeof(float) * H * size);
    for (int h = 0; h < H; h++) {
        float *p = scores + h * stride, top = p[0];
        vec best = fill(top), all = fill(0);
        for (int64_t t = n; t % W; t++) p[t] = top;
        for (int64_t t = 0; t < n; t += W) best = choose(best > AT(p + t), best, AT(p + t));
        for (int i = 0; i < W; i++) top = best[i] > top ? best[i] : top;
        for (int64_t t = 0; t < n; t += W) AT(p + t) = exponential(AT(p + t) - top);
        for (int64_t t = n; t % W; t++) p[t] = 0;
        for (int64_t t = 0; t < n; t += W) all += AT(p + t);
        vec scale = fill(1.0f / sum(all));
        for (int64_t t = 0; t < n; t += W) AT(p + t) *= scale;
    }
    n = 0;
    for (int g = 0; g < 3; n += row->length[g++])
        for (int64_t c = 0, chunk; c < size; c += chunk) {
            const float *values = row->memory[g] + (2 * place + 1) * row->room[g] * size + c;
            chunk = size - c >= 4 * W ? 4 * W : W;
            if (chunk > W) mix(scores + n, stride, values, row->length[g], out + c, size, H, 4);
            else mix(scores + n, stride, values, row->length[g], out + c, size, H, 1);
        }
}

static void attention(const Shape *s, int64_t layer, const Row *rows, int64_t num, const float *qkv, float *scores, int64_t stride, float *mixed) {
    int64_t across = padded((s->heads + 2 * s->shared) * s->size), repeat = s->heads / s->shared;
    for (int64_t r = 0; r < num; r++)
        for (int64_t h = 0, step; h < s->heads; h += step) {
            int64_t place = layer * s->shared + h / repeat;
            const float *q = qkv + r * across + h * s->size;
            float *out = mixed + (r * s->heads + h) * s->size;
            step = repeat % 2 ? 1 : 2;
            if (step == 2) attend(s, place, rows + r, q, scores, stride, out, 2);
            else attend(s, place, rows + r, q, scores, stride, out, 1);
        }
}

static void prepare(const Shape *s, int64_t layer, const Layer *l, const Row *row, float *qkv, const float *angles) {
    int64_t size = s->size, place = row->length[2] - 1, heads = s->heads, shared = s->shared;
    for (int64_t h = 0; h < heads + shared; h++) {
        const float *norm = h < heads ? l->q_norm : l->k_norm;
        if (norm) normalise(qkv + h * size, norm, qkv + h * size, size, s->eps);
        rotate(qkv + h * size, angles + row->position * size, size / 2);
    }
    for (int64_t i = 0; i < heads * size; i++) qkv[i] *= 1.0f / sqrtf(size);
    for (int64_t g = 0; g < shared; g++) {
        float *keys = row->memory[2] + 2 * (layer * shared + g) * row->room[2] * size, *values = keys + row->room[2] * size;
        float *k = qkv + (heads + g) * size, *v = k + shared * size;
        for (int64_t i = 0; i < size; i++) keys[(place / W * size + i) * W + place % W] = k[i];
        memcpy(values + place * size, v, sizeof(float) * size);
    }
}

static void activate(float *gates, int64_t num, int64_t across, int64_t inner) { // silu(gate) * up, in the place of gate
    for (int64_t r = 0; r < num; r++)
        for (float *g = gates + r * across, *end = g + inner; g < end; g += W)
            AT(g) = AT(g) * AT(g + inner) / (1.0f + exponential(-AT(g)));
}

// hidden [num, width]: after the last norm. scratch: what scratch_floats says, for rows of at most `longest` keys
int64_t scratch_floats(const Shape *s, int64_t num, int64_t longest) {
    return num * (2 * s->width + padded((s->heads + 2 * s->shared) * s->size) + s->heads * s->size + padded(2 * s->inner)) + 2 * (longest + 5 * W);
}

void forward(const Shape *s, const Layer *layers, const float *embedding, const float *last_norm, const float *angles,
             const Row *rows, int64_t num, int64_t longest, float *scratch, float *hidden) {
    int64_t width = s->width, wide = (s->heads + 2 * s->shared) * s->size, inner = s->inner;
    float *stream = scratch, *normed = stream + num * width, *qkv = normed + num * width;
    float *mixed = qkv + num * padded(wide), *gates = mixed + num * s->heads * s->size, *scores = gates + num * padded(2 * inner);
    for (int64_t r = 0; r < num; r++) memcpy(stream + r * width, embedding + rows[r].token * width, sizeof(float) * width);
    for (int64_t layer = 0; layer < s->layers; layer++) {
        const Layer *l = layers + layer;
        for (int64_t r = 0; r < num; r++) normalise(stream + r * width, l->norm, normed + r * width, width, s->eps);
        matmul(normed, width, l->qkv, l->qkv_bias, qkv, num, padded(wide), width, 0);
        for (int64_t r = 0; r < num; r++) prepare(s, layer, l, rows + r, qkv + r * padded(wide), angles);
        attention(s, layer, rows, num, qkv, scores, longest + 5 * W, mixed);
        matmul(mixed, s->heads * s->size, l->o, l->o_bias, stream, num, width, s->heads * s->size, 1);
        for (int64_t r = 0; r < num; r++) normalise(stream + r * width, l->mlp_norm, normed + r * width, width, s->eps);
        matmul(normed, width, l->gate_up, 0, gates, num, padded(2 * inner), width, 0);
        activate(gates, num, padded(2 * inner), inner);
        matmul(gates, padded(2 * inner), l->down, 0, stream, num, width, inner, 1);
    }
    for (int64_t r = 0; r < num; r++) normalise(stream + r * width, last_norm, hidden + r * width, width, s->eps);
}

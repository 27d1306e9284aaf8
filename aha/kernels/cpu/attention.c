// Attention of training on the CPU, forward and backward; `aha/kernels/attention.py` calls it. Float32, one thread, sums
// in a fixed order: equal inputs give equal bits.
#include "vectors.h"

#define QUERIES 24 // queries that are computed at once: four tiles of 6 rows (see `tiles` in vectors.h)

// c[m][n] = or += a[m][k] b[k][n]; rows and columns of a are ra and ca apart.
static void product(int64_t m, int64_t n, int64_t k, float *a, int64_t ra, int64_t ca, float *b, int64_t rb, float *c, int64_t rc, int adds) {
    for (int64_t j = 0; j < n; j += 2 * W) tiles(m, n - j, k, a, 6 * ra, ra, ca, b + j, rb, adds ? c + j : 0, rc, c + j, rc);
}

typedef struct { int64_t start, length, prefix, known; } Segment; // tokens that follow on `known` ones from `prefix`
typedef struct { int64_t heads, shared, size; float scale; } Shape;

// Index in the stream of the segment's key j: first those of the prefix, then its own.
static int64_t place(Segment s, int64_t j) { return j < s.known ? s.prefix + j : s.start + j - s.known; }

// Keys or values of a head of a segment, times a factor: [keys][size], and turned to [size][room]. Up to `room`, a whole
// number of panels, they are zeros, so that products need no other code for the last keys.
static void gather(Segment s, Shape z, float *x, float factor, float *rows, float *columns) {
    const int64_t keys = s.known + s.length, room = padded(keys);
    for (int64_t j = 0; j < room; j++)
        for (int64_t d = 0; d < z.size; d++) {
            const float value = j < keys ? x[place(s, j) * z.shared * z.size + d] * factor : 0.0f;
            rows[j * z.size + d] = value;
            columns[d * room + j] = value;
        }
}

// Scores of m queries from i on; minus infinity where a query may not see a key.
static void scores(Segment s, Shape z, int64_t i, int64_t m, float *q, float *columns, float *out) {
    const int64_t room = padded(s.known + s.length), end = padded(s.known + i + m);
    product(m, end, z.size, q, z.heads * z.size, 1, columns, room, out, room, 0);
    for (int64_t r = 0; r < m; r++)
        for (int64_t j = s.known + i + r + 1; j < end; j++) out[r * room + j] = -INFINITY;
}

int64_t attention_scratch(int64_t keys, int64_t size) { return padded(keys) * (6 * size + 2 * QUERIES); }

// out = softmax(scale q k^T) v; lse[tokens][heads] is the logarithm of the softmax's denominator.
void attention(int64_t num, Segment *segments, Shape *shape, float *q, float *k, float *v, float *out, float *lse, float *scratch) {
    const Shape z = *shape;
    const int64_t inner = z.heads * z.size, repeat = z.heads / z.shared;
    for (Segment *s = segments; s < segments + num; s++)
        for (int64_t g = 0; g < z.shared; g++) {
            const int64_t room = padded(s->known + s->length);
            float *keys = scratch, *turned = keys + room * z.size, *values = turned + room * z.size, *p = values + room * z.size;
            gather(*s, z, v + g * z.size, 1.0f, values, turned); // the turned values are not needed: keys overwrite them
            gather(*s, z, k + g * z.size, z.scale, keys, turned);
            for (int64_t h = g * repeat; h < (g + 1) * repeat; h++)
                for (int64_t i = 0; i < s->length; i += QUERIES) {
                    const int64_t m = s->length - i < QUERIES ? s->length - i : QUERIES, end = padded(s->known + i + m);
                    const int64_t at = (s->start + i) * inner + h * z.size;
                    float inverse[QUERIES];
                    scores(*s, z, i, m, q + at, turned, p);
                    // The softmax of each row; its division is left for the result, which has fewer numbers.
                    for (int64_t r = 0; r < m; r++) {
                        float *row = p + r * room, most = row[0];
                        vec peak = fill(-INFINITY), total = fill(0);
                        for (int64_t j = 0; j < end; j += W) peak = choose(peak > AT(row + j), peak, AT(row + j));
                        for (int j = 0; j < W; j++) most = peak[j] > most ? peak[j] : most;
                        for (int64_t j = 0; j < end; j += W) total += AT(row + j) = exponential(AT(row + j) - most);
                        inverse[r] = 1.0f / sum(total);
                        lse[(s->start + i + r) * z.heads + h] = most + logf(sum(total));
                    }
                    product(m, z.size, s->known + i + m, p, room, 1, values, z.size, out + at, inner, 0);
                    for (int64_t r = 0; r < m; r++)
                        for (int64_t d = 0; d < z.size; d += W) AT(out + at + r * inner + d) *= inverse[r];
                }
        }
}

// With p the softmax: dv = p^T dout, ds = p (dout v^T - sum(dout out)), dq = scale ds k, dk = scale ds^T q. dk, dv start at 0:
// a prefix gets its gradients from every segment that follows on it. Scores are computed once more, and lse makes them p.
void attention_backward(int64_t num, Segment *segments, Shape *shape, float *q, float *k, float *v, float *out, float *lse, float *dout, float *dq, float *dk, float *dv, float *scratch) {
    const Shape z = *shape;
    const int64_t inner = z.heads * z.size, repeat = z.heads / z.shared;
    for (Segment *s = segments; s < segments + num; s++)
        for (int64_t g = 0; g < z.shared; g++) {
            const int64_t all = s->known + s->length, room = padded(all), part = room * z.size;
            float *keys = scratch, *turned = keys + part, *values = turned + part, *dkeys = values + part, *dvalues = dkeys + part;
            float *p = dvalues + part, *ds = p + QUERIES * room, *unused = ds + QUERIES * room;
            gather(*s, z, v + g * z.size, 1.0f, unused, values);
            gather(*s, z, k + g * z.size, z.scale, keys, turned);
            memset(dkeys, 0, 2 * part * sizeof(float));
            for (int64_t h = g * repeat; h < (g + 1) * repeat; h++)
                for (int64_t i = 0; i < s->length; i += QUERIES) {
                    const int64_t m = s->length - i < QUERIES ? s->length - i : QUERIES, seen = s->known + i + m, end = padded(seen);
                    const int64_t at = (s->start + i) * inner + h * z.size;
                    scores(*s, z, i, m, q + at, turned, p);
                    product(m, end, z.size, dout + at, inner, 1, values, room, ds, room, 0);
                    for (int64_t r = 0; r < m; r++) {
                        vec dot = fill(0);
                        for (int64_t d = 0; d < z.size; d += W) dot += AT(dout + at + r * inner + d) * AT(out + at + r * inner + d);
                        const float mean = sum(dot), norm = lse[(s->start + i + r) * z.heads + h];
                        for (int64_t j = r * room; j < r * room + end; j += W) {
                            AT(p + j) = exponential(AT(p + j) - norm);
                            AT(ds + j) = AT(p + j) * (AT(ds + j) - mean);
                        }
                    }
                    product(m, z.size, seen, ds, room, 1, keys, z.size, dq + at, inner, 0);
                    product(seen, z.size, m, ds, 1, room, q + at, inner, dkeys, z.size, 1);
                    product(seen, z.size, m, p, 1, room, dout + at, inner, dvalues, z.size, 1);
                }
            for (int64_t j = 0; j < all; j++)
                for (int64_t d = 0; d < z.size; d++) {
                    dk[(place(*s, j) * z.shared + g) * z.size + d] += dkeys[j * z.size + d] * z.scale;
                    dv[(place(*s, j) * z.shared + g) * z.size + d] += dvalues[j * z.size + d];
                }
        }
}

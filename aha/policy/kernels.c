// Kernels of training on the CPU; `aha/policy/fused.py` calls them. Float32, one thread, sums in a fixed order: equal
// inputs give equal bits.
#include "vectors.h"

#define QUERIES 24 // queries of a tile of the attention

// y = weight x / rms(x), for each row; keeps 1 / rms.
void norm(int64_t rows, int64_t width, float eps, float *x, float *weight, float *y, float *scale) {
    for (int64_t r = 0; r < rows; r++, x += width, y += width) {
        vec squares = fill(0);
        for (int64_t d = 0; d < width; d += W) squares += AT(x + d) * AT(x + d);
        scale[r] = 1.0f / sqrtf(sum(squares) / width + eps);
        for (int64_t d = 0; d < width; d += W) AT(y + d) = AT(x + d) * scale[r] * AT(weight + d);
    }
}

// dx = (weight dy - x mean(weight dy x) / rms^2) / rms; dweight += dy x / rms.
void norm_backward(int64_t rows, int64_t width, float *x, float *weight, float *scale, float *dy, float *dx, float *dweight) {
    for (int64_t r = 0; r < rows; r++, x += width, dy += width, dx += width) {
        vec dots = fill(0);
        for (int64_t d = 0; d < width; d += W) {
            const vec slope = AT(dy + d) * AT(x + d);
            dots += slope * AT(weight + d);
            AT(dweight + d) += slope * scale[r];
        }
        const float mean = sum(dots) / width * scale[r] * scale[r];
        for (int64_t d = 0; d < width; d += W)
            AT(dx + d) = (AT(dy + d) * AT(weight + d) - AT(x + d) * mean) * scale[r];
    }
}

// out = silu(gate) up.
void swiglu(int64_t count, float *gate, float *up, float *out) {
    for (int64_t i = 0; i < count; i += W)
        AT(out + i) = AT(gate + i) / (1.0f + exponential(-AT(gate + i))) * AT(up + i);
}

void swiglu_backward(int64_t count, float *gate, float *up, float *dout, float *dgate, float *dup) {
    for (int64_t i = 0; i < count; i += W) {
        const vec g = AT(gate + i), d = AT(dout + i), sigmoid = 1.0f / (1.0f + exponential(-g)), silu = g * sigmoid;
        AT(dgate + i) = d * AT(up + i) * (sigmoid + silu * (1.0f - sigmoid));
        AT(dup + i) = d * silu;
    }
}

// Turn x[rows][heads][2 half] by angles[rows][half]; the gradient is turned back, with sign -1.
void rotary(int64_t rows, int64_t heads, int64_t half, float sign, float *x, float *cosine, float *sine, float *out) {
    for (int64_t r = 0; r < rows; r++, cosine += half, sine += half)
        for (int64_t h = 0; h < heads; h++, x += 2 * half, out += 2 * half)
            for (int64_t d = 0; d < half; d += W) {
                const vec a = AT(x + d), b = AT(x + half + d), c = AT(cosine + d), s = AT(sine + d) * sign;
                AT(out + d) = a * c - b * s;
                AT(out + half + d) = b * c + a * s;
            }
}

// c[m][n] = or += a[m][k] b[k][n] in registers; rows and columns of a are ra and ca apart.
INLINE void tile(const int m, const int n, int64_t k, float *a, int64_t ra, int64_t ca, float *b, int64_t rb, float *c, int64_t rc, int adds) {
    vec s[6][2];
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) s[i][j] = adds ? AT(c + i * rc + j * W) : fill(0);
    for (int64_t l = 0; l < k; l++, a += ca, b += rb)
        for (int i = 0; i < m; i++)
            for (int j = 0; j < n; j++) s[i][j] += a[i * ra] * AT(b + j * W);
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) AT(c + i * rc + j * W) = s[i][j];
}

static void product(int64_t m, int64_t n, int64_t k, float *a, int64_t ra, int64_t ca, float *b, int64_t rb, float *c, int64_t rc, int adds) {
#define TILE(M, N) tile(M, N, k, a + i * ra, ra, ca, b + j, rb, c + i * rc + j, rc, adds)
#define ROWS(M) if (n - j > W) TILE(M, 2); else TILE(M, 1); break;
    for (int64_t j = 0; j < n; j += 2 * W)
        for (int64_t i = 0; i < m; i += 6)
            switch (m - i) { case 1: ROWS(1) case 2: ROWS(2) case 3: ROWS(3) case 4: ROWS(4) case 5: ROWS(5) default: ROWS(6) }
}

typedef struct { int64_t start, length, prefix, known; } Segment; // tokens that follow on `known` ones from `prefix`
typedef struct { int64_t heads, shared, size; float scale; } Shape;

static int64_t room_of(int64_t keys) { return (keys + 2 * W - 1) / (2 * W) * (2 * W); }
static int64_t place(Segment s, int64_t j) { return j < s.known ? s.prefix + j : s.start + j - s.known; }

// Keys or values of a head of a segment, times a factor: [keys][size], and turned to [size][room].
static void gather(Segment s, Shape z, float *x, float factor, float *rows, float *columns) {
    const int64_t keys = s.known + s.length, room = room_of(keys);
    for (int64_t j = 0; j < room; j++)
        for (int64_t d = 0; d < z.size; d++) {
            const float value = j < keys ? x[place(s, j) * z.shared * z.size + d] * factor : 0.0f;
            rows[j * z.size + d] = value;
            columns[d * room + j] = value;
        }
}

// Scores of m queries from i on; minus infinity where a query may not see a key.
static void scores(Segment s, Shape z, int64_t i, int64_t m, float *q, float *columns, float *out) {
    const int64_t room = room_of(s.known + s.length), end = room_of(s.known + i + m);
    product(m, end, z.size, q, z.heads * z.size, 1, columns, room, out, room, 0);
    for (int64_t r = 0; r < m; r++)
        for (int64_t j = s.known + i + r + 1; j < end; j++) out[r * room + j] = -INFINITY;
}

int64_t attention_scratch(int64_t keys, int64_t size) { return room_of(keys) * (6 * size + 2 * QUERIES); }

// out = softmax(scale q k^T) v; lse[tokens][heads] is the logarithm of the softmax's denominator.
void attention(int64_t num, Segment *segments, Shape *shape, float *q, float *k, float *v, float *out, float *lse, float *scratch) {
    const Shape z = *shape;
    const int64_t inner = z.heads * z.size, repeat = z.heads / z.shared;
    for (Segment *s = segments; s < segments + num; s++)
        for (int64_t g = 0; g < z.shared; g++) {
            const int64_t room = room_of(s->known + s->length);
            float *keys = scratch, *turned = keys + room * z.size, *values = turned + room * z.size, *p = values + room * z.size;
            gather(*s, z, v + g * z.size, 1.0f, values, turned);
            gather(*s, z, k + g * z.size, z.scale, keys, turned);
            for (int64_t h = g * repeat; h < (g + 1) * repeat; h++)
                for (int64_t i = 0; i < s->length; i += QUERIES) {
                    const int64_t m = s->length - i < QUERIES ? s->length - i : QUERIES, end = room_of(s->known + i + m);
                    const int64_t at = (s->start + i) * inner + h * z.size;
                    float inverse[QUERIES];
                    scores(*s, z, i, m, q + at, turned, p);
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

// With p the softmax: dv = p^T dout, ds = p (dout v^T - sum(dout out)), dq = scale ds k, dk = scale ds^T q. dk, dv start at 0.
void attention_backward(int64_t num, Segment *segments, Shape *shape, float *q, float *k, float *v, float *out, float *lse, float *dout, float *dq, float *dk, float *dv, float *scratch) {
    const Shape z = *shape;
    const int64_t inner = z.heads * z.size, repeat = z.heads / z.shared;
    for (Segment *s = segments; s < segments + num; s++)
        for (int64_t g = 0; g < z.shared; g++) {
            const int64_t all = s->known + s->length, room = room_of(all), part = room * z.size;
            float *keys = scratch, *turned = keys + part, *values = turned + part, *dkeys = values + part, *dvalues = dkeys + part;
            float *p = dvalues + part, *ds = p + QUERIES * room, *unused = ds + QUERIES * room;
            gather(*s, z, v + g * z.size, 1.0f, unused, values);
            gather(*s, z, k + g * z.size, z.scale, keys, turned);
            memset(dkeys, 0, 2 * part * sizeof(float));
            for (int64_t h = g * repeat; h < (g + 1) * repeat; h++)
                for (int64_t i = 0; i < s->length; i += QUERIES) {
                    const int64_t m = s->length - i < QUERIES ? s->length - i : QUERIES, seen = s->known + i + m, end = room_of(seen);
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

// Kernels of training on the CPU; `aha/kernels/ops.py` calls them. Float32, one thread, sums in a fixed order: equal
// inputs give equal bits.
#include "vectors.h"

#define DEPTH 256     // rows of a turned matrix that are added up at a time
#define BLOCK 49152   // floats of a matrix that stay in the processor's second cache

// y = weight x / rms(x), for each row; keeps 1 / rms.
void norm(int64_t rows, int64_t width, float eps, float *x, float *weight, float *y, float *scale) {
    EACH(r, rows) scale[r] = normalise(x + r * width, weight, y + r * width, width, eps);
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
        for (int64_t h = 0; h < heads; h++, x += 2 * half, out += 2 * half) {
            int64_t d = 0;
            for (; d + W <= half; d += W) {
                const vec a = AT(x + d), b = AT(x + half + d), c = AT(cosine + d), s = AT(sine + d) * sign;
                AT(out + d) = a * c - b * s;
                AT(out + half + d) = b * c + a * s;
            }
            for (; d < half; d++) { // a half need not be whole vectors: heads of 80 are five of 16
                const float a = x[d], b = x[half + d], c = cosine[d], s = sine[d] * sign;
                out[d] = a * c - b * s;
                out[half + d] = b * c + a * s;
            }
        }
}

// Columns of b in panels, [n / PANEL][k][PANEL]; rows of b are rb apart, of a turned one the columns, cb.
static void lay_panels(int64_t n, int64_t k, const float *b, int64_t rb, float *panels) {
    EACH(t, k) EACH_VECTOR(j, n) AT(panels + j / PANEL * PANEL * k + j % PANEL + t * PANEL) = AT(b + t * rb + j);
}

// The same from a turned matrix: W x W numbers at a time are transposed in registers, by interleaving the first half of the
// rows with the second log2(W) times.
static void turn_panels(int64_t n, int64_t k, const float *b, int64_t cb, float *panels) {
    EACH_VECTOR(j, n) EACH_VECTOR(t, k) {
        float *to = panels + j / PANEL * PANEL * k + j % PANEL + t * PANEL;
        const float *from = b + j * cb + t;
        if (t + W > k) EACH(d, W) EACH(l, k - t) to[l * PANEL + d] = from[d * cb + l];
        else {
            vec x[W], y[W];
            EACH(d, W) x[d] = AT(from + d * cb);
            for (int step = 1; step < W; step *= 2) {
                EACH(d, W / 2) y[2 * d] = LOW(x[d], x[d + W / 2]), y[2 * d + 1] = HIGH(x[d], x[d + W / 2]);
                memcpy(x, y, sizeof x);
            }
            EACH(d, W) AT(to + d * PANEL) = x[d];
        }
    }
}

// Rows of a turned matrix in strips of 6, [m / 6][k][6], the strips 6 k + W apart.
static void lay_strips(int64_t m, int64_t k, const float *a, int64_t ca, float *strips) {
    EACH(t, k) for (int64_t i = 0; i < m; i += 6) {
        float *to = strips + i / 6 * (6 * k + W) + 6 * t;
        if (i + W <= m) AT(to) = AT(a + t * ca + i); // more than 6, which what follows covers
        else EACH(r, m - i < 6 ? m - i : 6) to[r] = a[t * ca + i + r];
    }
}

// Rows and inner columns that a product takes at a time.
static int64_t depth_of(int64_t k, int64_t is_turned) { return is_turned && k > DEPTH ? DEPTH : k; }
static int64_t height_of(int64_t depth) { return depth < BLOCK / 6 ? BLOCK / depth / 6 * 6 : 6; }
static int64_t panel_floats(int64_t n, int64_t depth) { return padded(n) * depth; }

int64_t product_scratch(int64_t n, int64_t k, int64_t is_turned) {
    const int64_t depth = depth_of(k, is_turned), height = height_of(depth);
    return panel_floats(n, depth) + is_turned * (height * depth + (height / 6 + 1) * W);
}

// c[m][n] = start + a b; rows of a are ra apart and its columns ca, one of them 1, and so on. A turned a (the gradient of a
// weight) is added up DEPTH inner columns at a time, each from where the last one ended; `height` rows stay in the cache
// while all panels of b pass by.
void product(int64_t m, int64_t n, int64_t k, float *a, int64_t ra, int64_t ca, float *b, int64_t rb, int64_t cb, float *start, int64_t rs, float *c, float *panels) {
    const int64_t depth = depth_of(k, ca != 1), height = height_of(depth);
    float *strips = panels + panel_floats(n, depth);
    for (int64_t l = 0; l < k; l += depth, start = c, rs = n) {
        const int64_t deep = k - l < depth ? k - l : depth;
        if (cb == 1) lay_panels(n, deep, b + l * rb, rb, panels);
        else turn_panels(n, deep, b + l, cb, panels);
        for (int64_t i = 0; i < m; i += height) {
            const int64_t high = m - i < height ? m - i : height;
            if (ca != 1) lay_strips(high, deep, a + l * ca + i, ca, strips);
            for (int64_t j = 0; j < n; j += PANEL) {
                const float *from = start ? start + i * rs + j : 0;
                float *to = c + i * n + j, *panel = panels + j * deep;
                if (ca == 1) tiles(high, n - j, deep, a + i * ra + l, 6 * ra, ra, 1, panel, PANEL, from, rs, to, n);
                else tiles(high, n - j, deep, strips, 6 * deep + W, 1, 6, panel, PANEL, from, rs, to, n);
            }
        }
    }
}

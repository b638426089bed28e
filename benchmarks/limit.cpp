// What these very networks could reach: all sizes known to the compiler, any rounding.
//
// FEATURES, WIDTH and CLASSES are set when it is compiled. A layer is 'o' (output),
// 'h' (hidden) or 'r' (residual); parameters lie one after another, as in helpers.
#include <algorithm>
#include <cmath>
#include <vector>

constexpr int B = 64;  // samples at a time; a short batch leaves columns empty
using Row = float[B];

template <int OUT, int IN>
void affine(const float *W, const float *b, const Row *x, Row *y) {
  for (int i = 0; i < OUT; i++) {
    Row s;
    for (int j = 0; j < B; j++) s[j] = b[i];
    for (int k = 0; k < IN; k++)
      for (int j = 0; j < B; j++) s[j] += W[i * IN + k] * x[k][j];
    for (int j = 0; j < B; j++) y[i][j] = s[j];
  }
}

// Step in W and b, and put Wᵀ dy into dx.
template <int OUT, int IN>
void step(float *W, float *b, const Row *x, const Row *dy, Row *dx, float rate) {
  for (int k = 0; k < IN; k++) {
    Row s = {};
    for (int i = 0; i < OUT; i++)
      for (int j = 0; j < B; j++) s[j] += W[i * IN + k] * dy[i][j];
    for (int j = 0; j < B; j++) dx[k][j] = s[j];
  }
  for (int i = 0; i < OUT; i++) {
    float sum = 0;
    for (int j = 0; j < B; j++) sum += dy[i][j];
    b[i] -= rate * sum;
    for (int k = 0; k < IN; k++) {
      float dot = 0;
      for (int j = 0; j < B; j++) dot += dy[i][j] * x[k][j];
      W[i * IN + k] -= rate * dot;
    }
  }
}

void squash(Row *y, const Row *x) {  // y = tanh(x + y)
  for (int i = 0; i < WIDTH; i++)
    for (int j = 0; j < B; j++)
      y[i][j] = 1 - 2 / (std::exp(2 * std::clamp(x[i][j] + y[i][j], -9.f, 9.f)) + 1);
}

void unsquash(Row *dy, const Row *y) {  // dy ← (1 − y²) dy
  for (int i = 0; i < WIDTH; i++)
    for (int j = 0; j < B; j++) dy[i][j] *= 1 - y[i][j] * y[i][j];
}

struct Signal {
  Row x[WIDTH > FEATURES ? WIDTH : FEATURES], inside[WIDTH];
};
const Row nothing[WIDTH] = {};
constexpr int FIRST = WIDTH * FEATURES, SQUARE = WIDTH * WIDTH;

// Return the scores of B samples; s[n].x is what layer n was given.
void forward(const char *kinds, const float *p, Signal *s, Row *scores) {
  bool first = true;
  for (; *kinds != 'o'; kinds++, s++, first = false) {
    Row *y = s[1].x;
    if (*kinds == 'h') {
      const float *b = p + (first ? FIRST : SQUARE);
      first ? affine<WIDTH, FEATURES>(p, b, s->x, y) : affine<WIDTH, WIDTH>(p, b, s->x, y);
      squash(y, nothing);
      p = b + WIDTH;
    } else {
      affine<WIDTH, WIDTH>(p, p + SQUARE, s->x, s->inside);
      squash(s->inside, nothing);
      p += SQUARE + WIDTH;
      affine<WIDTH, WIDTH>(p, p + SQUARE, s->inside, y);
      squash(y, s->x);
      p += SQUARE + WIDTH;
    }
  }
  if (first) affine<CLASSES, FEATURES>(p, p + CLASSES * FEATURES, s->x, scores);
  else affine<CLASSES, WIDTH>(p, p + CLASSES * WIDTH, s->x, scores);
}

// Turn scores into probabilities, and return the logarithms of the sums of exponentials.
void softmax(Row *z, Row logs) {
  for (int j = 0; j < B; j++) {
    float top = z[0][j], sum = 0;
    for (int i = 1; i < CLASSES; i++) top = std::max(top, z[i][j]);
    for (int i = 0; i < CLASSES; i++) sum += z[i][j] = std::exp(z[i][j] - top);
    for (int i = 0; i < CLASSES; i++) z[i][j] /= sum;
    logs[j] = std::log(sum) + top;
  }
}

// Take a step with m samples; p points behind the last parameter.
void backward(const char *kinds, int n, float *p, Signal *s, Row *dz, float rate) {
  Row dx[WIDTH > FEATURES ? WIDTH : FEATURES], inner[WIDTH];
  p -= CLASSES * (n == 1 ? FEATURES : WIDTH) + CLASSES;
  if (n == 1) step<CLASSES, FEATURES>(p, p + CLASSES * FEATURES, s->x, dz, dx, rate);
  else step<CLASSES, WIDTH>(p, p + CLASSES * WIDTH, s[n - 1].x, dz, dx, rate);
  for (int k = n - 2; k >= 0; k--) {
    unsquash(dx, s[k + 1].x);
    if (kinds[k] == 'r') {
      p -= SQUARE + WIDTH;
      step<WIDTH, WIDTH>(p, p + SQUARE, s[k].inside, dx, inner, rate);
      unsquash(inner, s[k].inside);
      p -= SQUARE + WIDTH;
      Row more[WIDTH];
      step<WIDTH, WIDTH>(p, p + SQUARE, s[k].x, inner, more, rate);
      for (int i = 0; i < WIDTH; i++)
        for (int j = 0; j < B; j++) dx[i][j] += more[i][j];
    } else if (k) {
      p -= SQUARE + WIDTH;
      step<WIDTH, WIDTH>(p, p + SQUARE, s[k].x, dx, inner, rate);
      std::copy(inner[0], inner[0] + WIDTH * B, dx[0]);
    } else {
      p -= FIRST + WIDTH;
      step<WIDTH, FEATURES>(p, p + FIRST, s[k].x, dx, inner, rate);
    }
  }
}

// Go through m samples, X (FEATURES, all) and C (CLASSES, all), in the order given; with
// a rate above 0 in steps, else adding loss and right answers to totals.
extern "C" void go(const char *kinds, int n, float *p, int size, const float *X,
                   const float *C, int all, const long *order, int m, float rate,
                   double *totals) {
  std::vector<Signal> s(n + 1);
  Row z[CLASSES], c[CLASSES], logs;
  for (int start = 0; start < m; start += B) {
    const int count = std::min(B, m - start);
    for (int i = 0; i < FEATURES; i++)
      for (int j = 0; j < B; j++)
        s[0].x[i][j] = j < count ? X[(long)i * all + order[start + j]] : 0;
    for (int i = 0; i < CLASSES; i++)
      for (int j = 0; j < B; j++)
        c[i][j] = j < count ? C[(long)i * all + order[start + j]] : 0;
    forward(kinds, p, s.data(), z);
    if (rate > 0) {
      softmax(z, logs);
      for (int i = 0; i < CLASSES; i++)
        for (int j = 0; j < B; j++) z[i][j] = j < count ? (z[i][j] - c[i][j]) / count : 0;
      backward(kinds, n, p + size, s.data(), z, rate);
    } else {
      Row right = {}, top;
      for (int j = 0; j < B; j++) top[j] = z[0][j];
      for (int i = 0; i < CLASSES; i++)
        for (int j = 0; j < B; j++) {
          right[j] += c[i][j] * z[i][j];
          top[j] = std::max(top[j], z[i][j]);
        }
      softmax(z, logs);
      float loss = 0, correct = 0;
      for (int j = 0; j < count; j++) {
        loss += logs[j] - right[j];
        correct += right[j] >= top[j];
      }
      totals[0] += loss;
      totals[1] += correct;
    }
  }
}

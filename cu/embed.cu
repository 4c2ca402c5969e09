// Embedding: hidden[r][k] = table[token[r]][k], and the rotation angles of the pass.
//
// The table is a weight in fragment order (it may be the output head too), so that a row's elements stand in pieces of four bytes. Angles are
// position · frequency in double precision, reduced to a quarter turn, and rounded once to f32; every layer reads them from the same table.
//
// Reference:  hidden[r][k] = T[token[r]][k] (int8: q · scale)
//             angles[r] = { cos(position[r] · frequency[i]) · factor for all i, then the sines }
#include "foretoken.cuh"

// table: fragment order, [vocab, width]; hidden: [rows, hidden]. Grid: rows.
extern "C" __global__ void embed_bf16(const u16* table, int units, const int* tokens, const int* rows, float* hidden, int width) {
    int row = block_x();
    if (row >= rows[0]) return;
    for (int k = thread_x(); k < width; k += block_size_x())
        hidden[(long long)row * width + k] = from_bf16(table[bf16_weight_index(tokens[row], k, units)]);
}

// scales: f16 bits behind the bytes. Grid: rows.
extern "C" __global__ void embed_int8(const u8* table, const u16* scales, int units, const int* tokens, const int* rows, float* hidden, int width) {
    int row = block_x();
    if (row >= rows[0]) return;
    for (int k = thread_x(); k < width; k += block_size_x()) {
        float scale = from_half(scales[int8_scale_index(tokens[row], k, units)]);
        hidden[(long long)row * width + k] = (float)(signed char)table[int8_weight_index(tokens[row], k, units)] * scale;
    }
}

// sin and cos on [-π/4, π/4] by their Taylor series: the last terms are below 2^-55.
DEVICE double sine_series(double x) {
    double z = x * x;
    double p = fused(z, 1.0 / 355687428096000.0, -1.0 / 1307674368000.0);
    p = fused(z, p, 1.0 / 6227020800.0);
    p = fused(z, p, -1.0 / 39916800.0);
    p = fused(z, p, 1.0 / 362880.0);
    p = fused(z, p, -1.0 / 5040.0);
    p = fused(z, p, 1.0 / 120.0);
    p = fused(z, p, -1.0 / 6.0);
    return fused(z * x, p, x);
}

DEVICE double cosine_series(double x) {
    double z = x * x;
    double p = fused(z, -1.0 / 6402373705728000.0, 1.0 / 20922789888000.0);
    p = fused(z, p, -1.0 / 87178291200.0);
    p = fused(z, p, 1.0 / 479001600.0);
    p = fused(z, p, -1.0 / 3628800.0);
    p = fused(z, p, 1.0 / 40320.0);
    p = fused(z, p, -1.0 / 720.0);
    p = fused(z, p, 1.0 / 24.0);
    p = fused(z, p, -0.5);
    return fused(z, p, 1.0);
}

// frequencies: radians per position [half]; angles: [rows, 2, half]. Grid: rows.
extern "C" __global__ void rope_angles(const double* frequencies, const int* positions, const int* rows, float* angles, int half, float factor) {
    int row = block_x();
    if (row >= rows[0]) return;
    for (int i = thread_x(); i < half; i += block_size_x()) {
        double angle = (double)positions[row] * frequencies[i];
        double quarter = fused(angle, 0.63661977236758134308, 6755399441055744.0) - 6755399441055744.0; // nearest integer
        double x = fused(quarter, -1.57079632679489655800, angle); // π/2 in two parts
        x = fused(quarter, -6.12323399573676603587e-17, x);
        int q = (int)(long long)quarter & 3;
        double s = sine_series(x), c = cosine_series(x);
        double sine = q == 0 ? s : q == 1 ? c : q == 2 ? -s : -c;
        double cosine = q == 0 ? c : q == 1 ? -s : q == 2 ? -c : s;
        angles[(long long)row * 2 * half + i] = (float)(cosine * (double)factor);
        angles[(long long)row * 2 * half + half + i] = (float)(sine * (double)factor);
    }
}

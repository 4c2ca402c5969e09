using System.Runtime.Intrinsics;

namespace Foretoken.Training;

/// <summary>
/// Muon: momentum whose direction is made orthogonal by five Newton–Schulz steps (Jordan et al., "Muon: an optimizer for hidden layers in neural
/// networks", 2024). One instance per thread (it owns scratch matrices).
/// </summary>
internal sealed unsafe class Muon : IDisposable
{
    private const float A = 3.4445f, B = -4.7750f, C = 2.0315f;
    private readonly FloatBuffer _x, _next; // [small, large]
    private readonly FloatBuffer _gram, _square; // [small, small]
    private readonly Gemm _gemm = new();

    /// <summary>Scratch for matrices of at most <paramref name="maxElements"/> elements and a shorter side of <paramref name="maxSide"/>.</summary>
    public Muon(long maxElements, int maxSide)
    {
        _x = new FloatBuffer(maxElements);
        _next = new FloatBuffer(maxElements);
        _gram = new FloatBuffer((long)maxSide * maxSide);
        _square = new FloatBuffer((long)maxSide * maxSide);
    }

    /// <summary>
    /// momentum = β·momentum + g; direction = g + β·momentum (Nesterov), orthogonalised; value −= lr·(√max(1, rows/columns)·direction + decay·value).
    /// </summary>
    public void Update(float* value, float* gradient, float* momentum, int rows, int columns, OptimizerSettings settings, float learningRate)
    {
        long count = (long)rows * columns;
        float beta = settings.MuonMomentum;
        bool tall = rows > columns;
        int small = Math.Min(rows, columns), large = Math.Max(rows, columns);
        float* x = _x.Pointer, nesterov = tall ? _next.Pointer : x;
        Vector512<float> decay = Vector512.Create(beta);
        long whole = count & ~15L;
        for (long i = 0; i < whole; i += 16)
        {
            Vector512<float> g = Vector512.Load(gradient + i), m = decay * Vector512.Load(momentum + i) + g;
            m.Store(momentum + i);
            (g + decay * m).Store(nesterov + i);
        }
        for (long i = whole; i < count; i++)
        {
            momentum[i] = beta * momentum[i] + gradient[i];
            nesterov[i] = gradient[i] + beta * momentum[i];
        }
        if (tall) Gemm.Transpose(nesterov, columns, rows, columns, x, rows);
        float* direction = Orthogonalize(small, large, settings.MuonIterations, out float* spare);
        if (tall)
        {
            Gemm.Transpose(direction, rows, columns, rows, spare, columns);
            direction = spare;
        }
        float step = learningRate * MathF.Sqrt(MathF.Max(1f, (float)rows / columns)), keep = 1f - learningRate * settings.MuonWeightDecay;
        for (long i = 0; i < whole; i += 16)
            (Vector512.Create(keep) * Vector512.Load(value + i) - Vector512.Create(step) * Vector512.Load(direction + i)).Store(value + i);
        for (long i = whole; i < count; i++) value[i] = keep * value[i] - step * direction[i];
    }

    /// <summary>In place of the scratch matrix X: X / ‖X‖, then X ← aX + (bG + cG²)X with G = XXᵀ, so that all singular values come near 1; X is [small, large].</summary>
    private float* Orthogonalize(int small, int large, int iterations, out float* spare)
    {
        float* x = _x.Pointer, next = _next.Pointer, gram = _gram.Pointer, square = _square.Pointer;
        long count = (long)small * large, sides = (long)small * small;
        RowMath.Scale(x, (float)(1 / (Math.Sqrt(RowMath.SumOfSquares(x, count)) + 1e-12)), count);
        for (int iteration = 0; iteration < iterations; iteration++)
        {
            _gemm.SymmetricProduct(x, gram, small, large);
            _gemm.SymmetricProduct(gram, square, small, small);
            RowMath.Scale(square, C, sides);
            RowMath.AddScaled(square, gram, B, sides);
            new Span<float>(x, (int)count).CopyTo(new Span<float>(next, (int)count));
            RowMath.Scale(next, A, count);
            _gemm.Multiply(square, small, 1, x, large, 1, next, large, small, large, small, accumulate: true);
            float* done = next;
            next = x;
            x = done;
        }
        spare = next;
        return x;
    }

    public void Dispose()
    {
        foreach (FloatBuffer buffer in new[] { _x, _next, _gram, _square }) buffer.Dispose();
        _gemm.Dispose();
    }
}

using System.Runtime.Intrinsics;

namespace Foretoken.Training;

/// <summary>Which divergence pulls the student to its teacher.</summary>
public enum Divergence
{
    /// <summary>KL(student ‖ teacher), what the published code computes.</summary>
    StudentTeacher,

    /// <summary>KL(teacher ‖ student), forward KL.</summary>
    TeacherStudent,
}

/// <summary>What the head measured on one row.</summary>
/// <param name="Divergence">KL divergence in nats, unweighted.</param>
/// <param name="Loss">−log p(target) of the student.</param>
/// <param name="Correct">The target is the student's greatest logit.</param>
public readonly record struct DistillationRow(float Divergence, float Loss, bool Correct);

/// <summary>
/// Logits of student and teacher, the divergence between them and the student's cross-entropy, in blocks of 128 rows so that both logits [128, vocabulary]
/// stay in the cache. One instance per thread.
/// </summary>
public sealed unsafe class DistillationHead : IDisposable
{
    private const int BlockRows = 128;
    private readonly FloatBuffer _student, _teacher; // [128, vocabulary]
    private readonly int _hidden, _vocabulary;

    /// <summary>A head from <paramref name="hidden"/> features to <paramref name="vocabulary"/> logits.</summary>
    public DistillationHead(int hidden, int vocabulary)
    {
        (_hidden, _vocabulary) = (hidden, vocabulary);
        _student = new FloatBuffer((long)BlockRows * vocabulary);
        _teacher = new FloatBuffer((long)BlockRows * vocabulary);
    }

    /// <summary>
    /// Per row: results[row]. When <paramref name="dh"/> is not null it receives the gradient [rows, hidden] of
    /// Σ weights·(<paramref name="klWeight"/>·KL + <paramref name="lossWeight"/>·loss) with respect to <paramref name="h"/>[rows, hidden], and
    /// <paramref name="dw"/> (null: frozen) accumulates that of w[vocabulary, hidden]. The teacher's rows and matrix are
    /// <paramref name="teacherH"/> and <paramref name="teacherW"/>.
    /// </summary>
    public void Run(
        Gemm gemm, float* h, float* w, float* teacherH, float* teacherW, ReadOnlySpan<int> targets, ReadOnlySpan<float> weights, Divergence divergence,
        float klWeight, float lossWeight, Span<DistillationRow> results, float* dh, float* dw)
    {
        for (int start = 0; start < targets.Length; start += BlockRows)
        {
            int count = Math.Min(BlockRows, targets.Length - start);
            float* block = h + (long)start * _hidden;
            gemm.Forward(block, w, _student.Pointer, count, _hidden, _vocabulary);
            gemm.Forward(teacherH + (long)start * _hidden, teacherW, _teacher.Pointer, count, _hidden, _vocabulary);
            for (int row = 0; row < count; row++)
            {
                float weight = weights[start + row];
                results[start + row] = Gradient(_student.Pointer + (long)row * _vocabulary, _teacher.Pointer + (long)row * _vocabulary, targets[start + row],
                    divergence, weight * klWeight, weight * lossWeight);
            }
            if (dh == null) continue;
            gemm.BackwardInput(_student.Pointer, w, dh + (long)start * _hidden, count, _hidden, _vocabulary, accumulate: false);
            if (dw != null) gemm.BackwardWeight(_student.Pointer, block, dw, count, _hidden, _vocabulary);
        }
    }

    /// <summary>Replaces one row of the student's logits by their gradient; the teacher's are overwritten too.</summary>
    private DistillationRow Gradient(float* s, float* t, int target, Divergence divergence, float klWeight, float lossWeight)
    {
        (float studentMaximum, float studentSum) = Exponentials(s);
        (float teacherMaximum, float teacherSum) = Exponentials(t);
        float studentLog = studentMaximum + MathF.Log(studentSum), teacherLog = teacherMaximum + MathF.Log(teacherSum);
        var row = new DistillationRow(0, studentLog - s[target], s[target] >= studentMaximum);
        Vector512<float> ls = Vector512.Create(studentLog), lt = Vector512.Create(teacherLog), sum = default;
        bool forward = divergence == Divergence.TeacherStudent;
        for (int i = 0; i < _vocabulary; i += 16)
        {
            Vector512<float> logP = RowMath.LoadPart(s + i, _vocabulary - i) - ls, logQ = RowMath.LoadPart(t + i, _vocabulary - i) - lt;
            Vector512<float> p = Masked(RowMath.Exp(logP), i), q = Masked(RowMath.Exp(logQ), i), difference = logP - logQ;
            sum += forward ? -q * difference : p * difference;
            // forward: p − q; else p·(log p − log q), from which p·KL is still to be taken.
            RowMath.StorePart(forward ? p - q : p * difference, t + i, _vocabulary - i);
            RowMath.StorePart(p, s + i, _vocabulary - i);
        }
        float kl = Vector512.Sum(sum);
        Vector512<float> fromP = Vector512.Create(lossWeight - (forward ? 0 : klWeight * kl)), fromT = Vector512.Create(klWeight);
        for (int i = 0; i < _vocabulary; i += 16)
        {
            RowMath.StorePart(
                RowMath.LoadPart(s + i, _vocabulary - i) * fromP + RowMath.LoadPart(t + i, _vocabulary - i) * fromT, s + i, _vocabulary - i);
        }
        s[target] -= lossWeight;
        return row with { Divergence = kl };
    }

    private Vector512<float> Masked(Vector512<float> value, int start) => _vocabulary - start >= 16
        ? value
        : Vector512.ConditionalSelect(Vector512.LessThan(Vector512<float>.Indices, Vector512.Create((float)(_vocabulary - start))), value, default);

    private (float Maximum, float Sum) Exponentials(float* x)
    {
        float maximum = float.NegativeInfinity;
        Vector512<float> maxima = Vector512.Create(float.NegativeInfinity), sums = default;
        int i = 0;
        for (; i + 16 <= _vocabulary; i += 16) maxima = Vector512.Max(maxima, Vector512.Load(x + i));
        for (int lane = 0; lane < 16; lane++) maximum = MathF.Max(maximum, maxima[lane]);
        for (; i < _vocabulary; i++) maximum = MathF.Max(maximum, x[i]);
        Vector512<float> offset = Vector512.Create(maximum);
        for (i = 0; i + 16 <= _vocabulary; i += 16) sums += RowMath.Exp(Vector512.Load(x + i) - offset);
        float sum = Vector512.Sum(sums);
        for (; i < _vocabulary; i++) sum += MathF.Exp(x[i] - maximum);
        return (maximum, sum);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _student.Dispose();
        _teacher.Dispose();
    }
}

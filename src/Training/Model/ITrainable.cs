namespace Foretoken.Training;

/// <summary>Parameters that an optimizer updates and a checkpoint keeps.</summary>
public interface ITrainable
{
    /// <summary>Names and places of the parameters.</summary>
    ParameterSet Parameters { get; }

    /// <summary>The parameters, in the layout of <see cref="Parameters"/>.</summary>
    FloatBuffer Values { get; }
}

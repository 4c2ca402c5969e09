using System.Collections.Immutable;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Syntax;

namespace Foretoken.Generators.Driver;

/// <summary>
/// Writes, for a partial class marked with NativeTable, a table of typed function pointers (filled through NativeLibrary, or by a test with
/// UnmanagedCallersOnly methods) and the bodies of its methods, which check results.
/// </summary>
[Generator(LanguageNames.CSharp)]
public sealed class NativeTableGenerator : IIncrementalGenerator
{
    internal const string TableStep = "NativeTable";
    private const string TableAttribute = "Foretoken.Backends.Cuda.NativeTableAttribute";
    private const string FunctionAttribute = "Foretoken.Backends.Cuda.NativeFunctionAttribute";

    private static readonly SymbolDisplayFormat Qualified = SymbolDisplayFormat.FullyQualifiedFormat;

    public void Initialize(IncrementalGeneratorInitializationContext context)
    {
        IncrementalValuesProvider<NativeTable> tables = context.SyntaxProvider
            .ForAttributeWithMetadataName(TableAttribute, static (node, _) => node is ClassDeclarationSyntax, static (match, cancel) => Read(match, cancel))
            .WithTrackingName(TableStep);
        context.RegisterSourceOutput(tables, static (output, table) =>
        {
            foreach (Finding finding in table.Findings) output.ReportDiagnostic(finding.ToDiagnostic());
            if (table.Findings.Count == 0) output.AddSource($"{table.Name}.g.cs", NativeTableEmitter.Emit(table));
        });
    }

    private static NativeTable Read(GeneratorAttributeSyntaxContext match, CancellationToken cancel)
    {
        var type = (INamedTypeSymbol)match.TargetSymbol;
        ImmutableArray<TypedConstant> arguments = match.Attributes[0].ConstructorArguments;
        string result = arguments[0].Value is ITypeSymbol enumeration ? enumeration.ToDisplayString(Qualified) : "int";
        var libraries = arguments[1].Values.Select(v => (string)v.Value!);
        var findings = new List<Finding>();
        var functions = new List<NativeFunction>();
        Place place = Place.Of(((ClassDeclarationSyntax)match.TargetNode).Identifier.GetLocation());
        if (!((ClassDeclarationSyntax)match.TargetNode).Modifiers.Any(SyntaxKind.PartialKeyword) || type.ContainingType is not null || type.IsGenericType)
            findings.Add(new Finding(Rules.TableShape, place, $"{type.Name} must be a partial class that is neither nested nor generic."));
        if (arguments[1].Values.Length == 0) findings.Add(new Finding(Rules.TableShape, place, $"{type.Name} names no library to load."));
        var callers = new Dictionary<string, string>();
        foreach (IMethodSymbol method in type.GetMembers().OfType<IMethodSymbol>())
        {
            cancel.ThrowIfCancellationRequested();
            AttributeData? mark = method.GetAttributes().FirstOrDefault(a => a.AttributeClass?.ToDisplayString() == FunctionAttribute);
            if (mark?.ConstructorArguments.FirstOrDefault().Value is not string export) continue;
            NativeFunction? function = ReadFunction(method, export, result, findings);
            if (function is null) continue;
            if (callers.TryGetValue(export, out string? other))
                findings.Add(new Finding(Rules.TableDuplicate, Place.Of(method.Locations[0]), other, export));
            callers[export] = method.Name;
            functions.Add(function);
        }

        if (functions.Any(f => f.Checked) && !type.GetMembers("Fail").OfType<IMethodSymbol>().Any(m => m.Parameters.Length == 2 && m.ReturnsVoid))
            findings.Add(new Finding(Rules.TableShape, place, $"{type.Name} needs 'void Fail({result.Split('.').Last()} result, string call)', which throws."));
        string @namespace = type.ContainingNamespace.IsGlobalNamespace ? "" : type.ContainingNamespace.ToDisplayString();
        return new NativeTable(@namespace, type.Name, result, new(libraries), new(functions), new(findings));
    }

    private static NativeFunction? ReadFunction(IMethodSymbol method, string export, string result, List<Finding> findings)
    {
        Place place = Place.Of(method.Locations[0]);
        if (!method.IsPartialDefinition || method.IsStatic || method.IsGenericMethod)
        {
            findings.Add(new Finding(Rules.TableShape, place, $"{method.Name} must be a partial instance method without body."));
            return null;
        }

        if (!method.ReturnsVoid && method.ReturnType.ToDisplayString(Qualified) != result)
        {
            findings.Add(new Finding(Rules.TableShape, place, $"{method.Name} must return nothing (checked) or {result.Split('.').Last()} (handed on)."));
            return null;
        }

        var parameters = new List<NativeParameter>();
        foreach (IParameterSymbol p in method.Parameters)
        {
            bool isOut = p.RefKind == RefKind.Out;
            if ((p.RefKind != RefKind.None && !isOut) || !p.Type.IsUnmanagedType)
            {
                findings.Add(new Finding(Rules.TableParameter, Place.Of(p.Locations[0]), p.Name, method.Name, p.ToDisplayString(SymbolDisplayFormat.CSharpShortErrorMessageFormat)));
                return null;
            }

            parameters.Add(new NativeParameter(p.Type.ToDisplayString(Qualified), p.Name, isOut));
        }

        return new NativeFunction(export, method.Name, SyntaxFacts.GetText(method.DeclaredAccessibility), method.ReturnsVoid, new(parameters));
    }
}

internal sealed record NativeTable(
    string Namespace, string Name, string Result, EquatableArray<string> Libraries, EquatableArray<NativeFunction> Functions, EquatableArray<Finding> Findings);

/// <param name="Checked">Whether the method throws instead of returning the result.</param>
internal sealed record NativeFunction(string Export, string Method, string Access, bool Checked, EquatableArray<NativeParameter> Parameters);

internal sealed record NativeParameter(string Type, string Name, bool IsOut);

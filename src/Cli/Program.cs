using System.Runtime.InteropServices;
using Foretoken.Cli;

// The first Ctrl-C (or SIGTERM) asks the running command to stop between two steps; a second one ends the process at once.
using var interrupt = new CancellationTokenSource();
void OnSignal(PosixSignalContext context)
{
    if (interrupt.IsCancellationRequested) Environment.Exit(ExitCode.Interrupted);
    context.Cancel = true;
    interrupt.Cancel();
}

using PosixSignalRegistration onInterrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, OnSignal);
using PosixSignalRegistration onTerminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, OnSignal);
using CliHost host = CliHost.ForProcess(interrupt.Token);
return CliApplication.Run(args, host);

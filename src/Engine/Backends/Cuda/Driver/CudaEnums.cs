namespace Foretoken.Backends.Cuda;

/// <summary>CUresult: the values that the engine tells apart or that are worth a name in a message of our own. Others keep their number.</summary>
internal enum CudaResult
{
    Success = 0,
    InvalidValue = 1,
    OutOfMemory = 2,
    NotInitialized = 3,
    StubLibrary = 34,
    DeviceUnavailable = 46,
    NoDevice = 100,
    InvalidDevice = 101,
    InvalidImage = 200,
    InvalidContext = 201,
    NoBinaryForGpu = 209,
    InvalidPtx = 218,
    JitCompilerNotFound = 221,
    UnsupportedPtxVersion = 222,
    InvalidHandle = 400,
    NotFound = 500,
    NotReady = 600,
    IllegalAddress = 700,
    LaunchOutOfResources = 701,
    LaunchTimeout = 702,
    IllegalInstruction = 715,
    MisalignedAddress = 716,
    InvalidPc = 718,
    LaunchFailed = 719,
    NotPermitted = 800,
    NotSupported = 801,
    StreamCaptureUnsupported = 900,
    StreamCaptureInvalidated = 901,
    StreamCaptureUnjoined = 904,
    StreamCaptureIsolation = 905,
    StreamCaptureImplicit = 906,
    StreamCaptureWrongThread = 908,
    GraphExecUpdateFailure = 910,
    Unknown = 999,
}

/// <summary>CUdevice_attribute.</summary>
internal enum CudaDeviceAttribute
{
    MaxThreadsPerBlock = 1,
    SharedBytesPerBlock = 8,
    WarpSize = 10,
    RegistersPerBlock = 12,
    ClockKilohertz = 13,
    MultiprocessorCount = 16,
    Integrated = 18,
    EccEnabled = 32,
    PciBusId = 33,
    PciDeviceId = 34,
    L2Bytes = 38,
    MaxThreadsPerMultiprocessor = 39,
    PciDomainId = 50,
    ComputeCapabilityMajor = 75,
    ComputeCapabilityMinor = 76,
    SharedBytesPerMultiprocessor = 81,
    RegistersPerMultiprocessor = 82,
    CooperativeLaunch = 95,
    SharedBytesPerBlockOptIn = 97,
    MaxBlocksPerMultiprocessor = 106,
    ReservedSharedBytesPerBlock = 111,
}

/// <summary>CUfunction_attribute.</summary>
internal enum CudaFunctionAttribute
{
    MaxThreadsPerBlock = 0,
    StaticSharedBytes = 1,
    LocalBytes = 3,
    Registers = 4,
    MaxDynamicSharedBytes = 8,
}

/// <summary>CUjit_option.</summary>
internal enum CudaJitOption
{
    InfoLogBuffer = 3,
    InfoLogBytes = 4,
    ErrorLogBuffer = 5,
    ErrorLogBytes = 6,
    LogVerbose = 12,
}

/// <summary>CUstreamCaptureMode.</summary>
internal enum CudaCaptureMode
{
    Global = 0,
    ThreadLocal = 1,
    Relaxed = 2,
}

/// <summary>CUstream_flags.</summary>
[Flags]
internal enum CudaStreamFlags : uint
{
    None = 0,
    NonBlocking = 1,
}

/// <summary>CUevent_flags.</summary>
[Flags]
internal enum CudaEventFlags : uint
{
    None = 0,
    BlockingSync = 1,
    DisableTiming = 2,
}

/// <summary>CU_MEMHOSTALLOC flags.</summary>
[Flags]
internal enum CudaHostAllocFlags : uint
{
    None = 0,
    Portable = 1,
    DeviceMapped = 2,
    WriteCombined = 4,
}

/// <summary>CUlaunchAttributeID: those that the engine sets.</summary>
internal enum CudaLaunchAttributeId
{
    Cooperative = 2,
    ProgrammaticStreamSerialization = 6,
}

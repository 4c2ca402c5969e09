"""Decodes random Llama shapes at batch 1 with PyTorch and a static cache: as a CUDA graph of eager kernels, and compiled, as a CUDA graph too.

One JSON line per shape and way, as `foretoken bench` writes, each as soon as it is measured: the quick ones come first. --dry-run: a tiny shape on the processor.
"""
import ctypes
import json
import statistics
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F

DRY = "--dry-run" in sys.argv[1:]
DEVICE = "cpu" if DRY else "cuda"
SHAPES = {"tiny": dict(layers=2, hidden=64, inner=128, heads=4, kv=2, dim=16, vocab=256)} if DRY else {
    "llama-3.2-1b": dict(layers=16, hidden=2048, inner=8192, heads=32, kv=8, dim=64, vocab=128256),
    "llama-3.1-8b": dict(layers=32, hidden=4096, inner=14336, heads=32, kv=8, dim=128, vocab=128256),
}
CONTEXT = TOKENS = 8 if DRY else 256
REPEATS = 1 if DRY else 5


class Layer(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.s = s
        self.qkv = nn.Linear(s["hidden"], (s["heads"] + 2 * s["kv"]) * s["dim"], bias=False)
        self.out = nn.Linear(s["heads"] * s["dim"], s["hidden"], bias=False)
        self.gate_up = nn.Linear(s["hidden"], 2 * s["inner"], bias=False)
        self.down = nn.Linear(s["inner"], s["hidden"], bias=False)
        self.norms = nn.Parameter(torch.ones(2, s["hidden"]))
        self.register_buffer("k", torch.zeros(1, s["kv"], CONTEXT, s["dim"]))
        self.register_buffer("v", torch.zeros(1, s["kv"], CONTEXT, s["dim"]))

    def forward(self, x, position, cos, sin, mask):
        s = self.s
        half = s["dim"] // 2
        heads = self.qkv(F.rms_norm(x, (s["hidden"],), self.norms[0])).view(1, 1, -1, s["dim"]).transpose(1, 2)
        q, k, v = heads.split([s["heads"], s["kv"], s["kv"]], dim=1)

        def turn(t):
            return t * cos + torch.cat((-t[..., half:], t[..., :half]), -1) * sin

        self.k.index_copy_(2, position, turn(k))
        self.v.index_copy_(2, position, v)
        a = F.scaled_dot_product_attention(turn(q), self.k, self.v, attn_mask=mask, enable_gqa=True)
        x = x + self.out(a.transpose(1, 2).reshape(1, 1, -1))
        gate, up = self.gate_up(F.rms_norm(x, (s["hidden"],), self.norms[1])).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)


class Model(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.s = s
        self.embed = nn.Embedding(s["vocab"], s["hidden"])
        self.layers = nn.ModuleList(Layer(s) for _ in range(s["layers"]))
        self.norm = nn.Parameter(torch.ones(s["hidden"]))
        self.head = nn.Linear(s["hidden"], s["vocab"], bias=False)
        if s["hidden"] <= 2048:
            self.head.weight = self.embed.weight  # as the 1B model has it
        self.register_buffer("frequency", 500000.0 ** (-torch.arange(0, s["dim"], 2).float() / s["dim"]))
        self.register_buffer("slots", torch.arange(CONTEXT))

    def forward(self, token, position):
        angle = torch.cat((position.float() * self.frequency.float(),) * 2)
        cos, sin = angle.cos().to(self.norm.dtype), angle.sin().to(self.norm.dtype)
        mask = (self.slots <= position).view(1, 1, 1, -1)
        x = self.embed(token).view(1, 1, -1)
        for layer in self.layers:
            x = layer(x, position, cos, sin, mask)
        return self.head(F.rms_norm(x, (self.s["hidden"],), self.norm)).argmax(-1).view(1)


def synchronize():
    if not DRY:
        torch.cuda.synchronize()


def energy_meter():
    """Joules since the driver was loaded, as a function; None where NVML does not tell."""
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
        device = ctypes.c_void_p()
        bus = torch.cuda.get_device_properties(0)
        pci = f"{bus.pci_domain_id:08x}:{bus.pci_bus_id:02x}:{bus.pci_device_id:02x}.0".encode()
        if nvml.nvmlInit_v2() or nvml.nvmlDeviceGetHandleByPciBusId_v2(pci, ctypes.byref(device)):
            return None
        value = ctypes.c_ulonglong()

        def joules():
            return None if nvml.nvmlDeviceGetTotalEnergyConsumption(device, ctypes.byref(value)) else value.value / 1e3

        return joules if joules() is not None else None
    except (OSError, AttributeError, RuntimeError, AssertionError):
        return None


@torch.no_grad()
def measure(name, way, model, forward):
    token = torch.ones(1, dtype=torch.long, device=DEVICE)
    position = torch.zeros(1, dtype=torch.long, device=DEVICE)

    def step():
        token.copy_(forward(token, position))
        position.add_(1)

    if DRY:
        replay = step
    else:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # compiles and warms up outside the recording
            for _ in range(3):
                step()
        torch.cuda.current_stream().wait_stream(stream)
        synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        replay = graph.replay

    joules = None if DRY else energy_meter()
    times, before = [], None
    for repeat in range(REPEATS + 1):
        position.zero_()
        token.fill_(1)
        synchronize()
        if repeat == 1 and joules:
            before = joules()
        start = time.perf_counter()
        for _ in range(TOKENS):
            replay()
            token.item()  # as a caller does who shows each token
        if repeat > 0:
            times.append((time.perf_counter() - start) / TOKENS)
    result = {"model": name, "type": f"bf16 PyTorch {torch.__version__} {way}", "tokens_per_second": round(1 / statistics.median(times), 2)}
    if before is not None:
        result["joules_per_token"] = round((joules() - before) / (TOKENS * REPEATS), 4)
    print(json.dumps(result), flush=True)


def build(shape):
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(DEVICE):
        return Model(shape).eval().requires_grad_(False)


# the compiler takes a minute or more: the 8B model is compiled last
for compiled in (False, True):
    for shape_name, sizes in SHAPES.items():
        try:
            torch.manual_seed(1)
            built = build(sizes)
            if compiled and not DRY:
                torch._dynamo.reset()
                measure(shape_name, "compiled, CUDA graph", built, torch.compile(built, fullgraph=True, dynamic=False))
            else:
                measure(shape_name, "compiled (skipped)" if compiled else "CUDA graph", built, built)
        except Exception as error:  # the other measurements still count
            print(f"{shape_name}, compiled {compiled}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        built = None
        if not DRY:
            torch.cuda.empty_cache()

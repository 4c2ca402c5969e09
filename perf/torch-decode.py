"""Decodes random Llama shapes at batch 1 with PyTorch: a static cache, torch.compile and CUDA graphs. One JSON line per shape, as `foretoken bench` writes."""
import json
import statistics
import time

import torch
from torch import nn
from torch.nn import functional as F

SHAPES = {
    "llama-3.2-1b": dict(layers=16, hidden=2048, inner=8192, heads=32, kv=8, dim=64, vocab=128256),
    "llama-3.1-8b": dict(layers=32, hidden=4096, inner=14336, heads=32, kv=8, dim=128, vocab=128256),
}
CONTEXT, TOKENS, REPEATS = 256, 128, 5


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
        q, k, v = self.qkv(F.rms_norm(x, (s["hidden"],), self.norms[0])).view(1, 1, -1, s["dim"]).transpose(1, 2).split([s["heads"], s["kv"], s["kv"]], dim=1)
        turn = lambda t: t * cos + torch.cat((-t[..., s["dim"] // 2:], t[..., : s["dim"] // 2]), -1) * sin
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
        self.register_buffer("frequency", 500000.0 ** (-torch.arange(0, s["dim"], 2).float() / s["dim"]))

    def forward(self, token, position):
        angle = torch.cat((position.float() * self.frequency,) * 2)
        cos, sin = angle.cos().to(self.norm.dtype), angle.sin().to(self.norm.dtype)
        mask = (torch.arange(CONTEXT, device=token.device) <= position).view(1, 1, 1, -1)
        x = self.embed(token).view(1, 1, -1)
        for layer in self.layers:
            x = layer(x, position, cos, sin, mask)
        return self.head(F.rms_norm(x, (self.s["hidden"],), self.norm)).argmax(-1).view(1)


@torch.no_grad()
def measure(name, shape):
    with torch.device("cuda"):
        torch.set_default_dtype(torch.bfloat16)
        model = Model(shape).eval()
    step = torch.compile(model, mode="reduce-overhead", fullgraph=True)
    times = []
    for repeat in range(REPEATS + 1):
        token = torch.ones(1, dtype=torch.long, device="cuda")
        torch.cuda.synchronize()
        start = time.perf_counter()
        for i in range(TOKENS):
            token = step(token, torch.tensor([i], device="cuda")).clone()
        torch.cuda.synchronize()
        if repeat > 0:
            times.append((time.perf_counter() - start) / TOKENS)
    seconds = statistics.median(times)
    print(json.dumps({"model": name, "type": "bf16 PyTorch " + torch.__version__, "tokens_per_second": round(1 / seconds, 2)}), flush=True)


for name, shape in SHAPES.items():
    measure(name, shape)
    torch.cuda.empty_cache()

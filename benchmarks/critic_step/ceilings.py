"""The machine's own speed: matrix products and a copy."""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.measure import Call, Interleaved, WallClock, spread

SIDE = {"cpu": 2048, "cuda": 8192}
COPIED_BYTES = 256 << 20


def ceilings(device: str, quick: bool) -> dict[str, dict[str, Any]]:
    """GFLOP/s of torch.mm and of oneDNN's linear, GB/s of a copy: by name, the unit and the rate with its quartiles."""
    side = 64 if quick else SIDE[device]
    a, b = (torch.randn(side, side, device=device) for _ in range(2))
    source = torch.ones((1 << 20 if quick else COPIED_BYTES) // 4, device=device)
    target = torch.empty_like(source)
    calls: dict[str, Call] = {"torch.mm float32": lambda: torch.mm(a, b)}
    if device == "cuda":
        calls["torch.mm float32, TF32"] = lambda: _with_tf32(a, b)
    elif torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        calls["mkldnn._linear_pointwise float32"] = lambda: torch.ops.mkldnn._linear_pointwise(
            a, b, None, "none", [], ""
        )
    half_a, half_b = a.bfloat16(), b.bfloat16()
    calls["torch.mm bfloat16"] = lambda: torch.mm(half_a, half_b)
    calls["copy"] = lambda: target.copy_(source)
    timed = Interleaved(WallClock(device), calls, *((0.01, (3, 3)) if quick else (4.0, (9, 41))))
    timed.run()
    rows: dict[str, dict[str, Any]] = {name: {"failed": why} for name, why in timed.failed.items()}
    for name, samples in timed.samples.items():
        done, unit = (2 * source.nbytes, "GB/s") if name == "copy" else (2 * side**3, "GFLOP/s")
        rows[name] = {"unit": unit, "rate": spread([done / seconds / 1e9 for seconds in samples])}
    return rows


def _with_tf32(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.mm(a, b)
    torch.backends.cuda.matmul.allow_tf32 = False

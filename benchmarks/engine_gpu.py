"""The influence pass of the paper's audit on a GPU: floor, engine, captum, and what the card can multiply.

One pass over B images of the paper's encoder is timed (wall seconds, interleaved), and scaled to all training
images and checkpoints; the table says so. Operations are counted by torch for the floor; the ceiling is the
best rate of a large matrix product in the same precision. Needs torch, timm, jaxtyping, pydantic, pandas,
pyarrow and safetensors; neither Ray nor MLflow; captum is timed where it is installed.

    python benchmarks/engine_gpu.py
    python benchmarks/engine_gpu.py --device cpu --model test_convnext:32 --images 8 --ceiling-side 512
"""

import argparse
import importlib.util
import sys
from pathlib import Path
from typing import Any

import torch
from dated_result import write_result
from engine_cost import interleaved_ratios, seconds
from engine_subject import build_subject
from peers.captum_tracin import tracincp
from torch.utils.flop_counter import FlopCounterMode

TRAINING_IMAGES = 28_060
CHECKPOINTS = 10


def ceiling_tflops(device: str, side: int, precision: str) -> float:
    """Best rate of a square matrix product: fp32, tf32 (inputs rounded by the card) or bf16."""
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    best = min(seconds(lambda: left @ right, device) for _ in range(8))
    torch.backends.cuda.matmul.allow_tf32 = False
    return 2e-12 * side**3 / best


def measure(case: dict[str, Any], rounds: int, ceiling_side: int) -> dict[str, Any]:
    """The table's rows: seconds and ratio per pass, images per second, hours of the whole audit, TFLOP/s."""
    device, images = case["device"], case["images"]
    subject = build_subject(**case)
    work: dict[str, Any] = {"engine": subject.engine}
    if importlib.util.find_spec("captum") is not None:
        work["captum, one image per batch"] = tracincp(subject, batch_size=1).scores
    with FlopCounterMode(display=False) as counter:
        subject.floor()
    found = interleaved_ratios(subject.floor, work, rounds, device)
    for values in found.values():
        values["images_per_second"] = images / values["seconds"]
        values["audit_hours_scaled"] = values["seconds"] / images * TRAINING_IMAGES * CHECKPOINTS / 3600
    found["floor"]["tflops"] = 1e-12 * counter.get_total_flops() / found["floor"]["seconds"]
    found["engine"]["error_to_float64"] = subject.error_to_float64()
    ceilings = {name: ceiling_tflops(device, ceiling_side, name) for name in ("fp32", "tf32", "bf16")}
    return {"case": case, "found": found, "ceiling_tflops": ceilings}


def report(row: dict[str, Any]) -> None:
    """Print the table."""
    case = row["case"]
    print(f"{case['encoder']}, {case['side_px']} px, B = {case['images']}, M = {case['queries']}, fp32")
    audit = f"hours for {TRAINING_IMAGES:,} × {CHECKPOINTS}"
    print(f"{'who':<28}{'floors':>8}{'images/s':>10}{audit:>26}")
    for name, values in row["found"].items():
        rates = f"{values['images_per_second']:>10.1f}{values['audit_hours_scaled']:>26.2f}"
        print(f"{name:<28}{values['ratio']:>8.2f}{rates}")
    rates = ", ".join(f"{name} {rate:.1f}" for name, rate in row["ceiling_tflops"].items())
    print(f"floor {row['found']['floor']['tflops']:.1f} TFLOP/s; matrix products reach {rates}")


def main() -> int:
    """Run, print, write a dated JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--model", default="convnext_tiny:224")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--queries", type=int, default=9)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--ceiling-side", type=int, default=8192)
    parser.add_argument("--output", type=Path, default=None)
    options = parser.parse_args()
    encoder, _, side = options.model.partition(":")
    case = {"encoder": encoder, "side_px": int(side), "images": options.images}
    case |= {"queries": options.queries, "precondition": "adam", "seed": 0, "device": options.device}
    row = measure(case, options.rounds, options.ceiling_side)
    report(row)
    gpu = torch.cuda.get_device_name() if options.device == "cuda" else ""
    write_result("engine_gpu", [row], options.output, gpu=gpu, torch=torch.__version__, rounds=options.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())

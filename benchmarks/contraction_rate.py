"""How near the tile-by-tile contraction comes to the processor's rate, one weight matrix at a time.

Per shape of a layer (T positions, R × C), for B images and M queries: the milliseconds of the floor's one
matrix product for the batch's gradient, of torch.bmm for every image's gradient (nothing contracted), and
of the contraction by tiles, which forms, multiplies with all queries, squares and weighs. `bound` is its
count of multiplications over the floor's, `ratio` what was measured. CPU seconds, one thread, fastest of
some rounds, interleaved.

    python benchmarks/contraction_rate.py
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from dated_result import write_result

from grasp_ray.influence.kernels.contraction import Sums, TiledQueries
from grasp_ray.influence.layers.workspace import Workspace

IMAGES = 64
SHAPES = {  # the positions and matrices of convnext_atto and vit_tiny at 96 px, and of the latter at 224 px
    "ConvNeXt stage 1": (576, 40, 160),
    "ConvNeXt stage 2": (144, 80, 320),
    "ConvNeXt stage 3": (36, 160, 640),
    "ConvNeXt stage 4": (9, 320, 1280),
    "ViT, 37 tokens": (37, 192, 768),
    "ViT, 197 tokens": (197, 192, 768),
}
MOST_BMM_ENTRIES = 3 * 10**7
"""Larger results are left out: torch.bmm would be timed on page faults."""


def milliseconds(work: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Fastest CPU time of each, interleaved."""
    best = dict.fromkeys(work, float("inf"))
    for _ in range(rounds + 1):
        for name, call in work.items():
            started = time.process_time()
            call()
            best[name] = min(best[name], 1e3 * (time.process_time() - started))
    return best


def measure(shape: tuple[int, int, int], queries: int, rounds: int) -> dict[str, float]:
    """One row of the table."""
    positions, rows, columns = shape
    generator = torch.Generator().manual_seed(0)
    down_BTR = torch.randn(IMAGES, positions, rows, generator=generator)
    across_BTC = torch.randn(IMAGES, positions, columns, generator=generator)
    queries_MRC = torch.randn(queries, rows, columns, generator=generator)
    tiles = TiledQueries(queries_MRC, torch.rand(rows, columns, generator=generator))
    zeros_B, workspace = torch.zeros(IMAGES, dtype=torch.float64), Workspace()
    sums = Sums(zeros_B.new_zeros(IMAGES, queries), zeros_B, zeros_B.clone())
    work: dict[str, Callable[[], object]] = {
        "floor": lambda: down_BTR.flatten(0, 1).T @ across_BTC.flatten(0, 1),
        "contraction": lambda: tiles.contract(down_BTR, across_BTC, sums, workspace),
    }
    if IMAGES * rows * columns <= MOST_BMM_ENTRIES:
        work["bmm"] = lambda: torch.bmm(down_BTR.transpose(1, 2), across_BTC)
    found = milliseconds(work, rounds)
    operations = 2e-6 * IMAGES * rows * columns
    count = positions + queries + 3
    return found | {
        "ratio": found["contraction"] / found["floor"],
        "bound": count / positions,
        "floor_gflops": operations * positions / found["floor"],
        "contraction_gflops": operations * count / found["contraction"],
    }


def main() -> int:
    """Run, print, write a dated JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--queries", nargs="+", type=int, default=[1, 9, 64])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--output", type=Path, default=None)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = []
    sizes = f"{'layer':<18}{'T':>5}{'R':>5}{'C':>6}{'M':>4}"
    print(f"{sizes}{'floor':>8}{'bmm':>8}{'tiles':>8}  ratio (bound)  GFLOP/s")
    for name, shape in SHAPES.items():
        for queries in options.queries:
            row = measure(shape, queries, options.rounds)
            found.append({"layer": name, "shape": shape, "queries": queries} | row)
            bmm = f"{row['bmm']:.1f}" if "bmm" in row else "–"
            sizes = f"{shape[0]:>5}{shape[1]:>5}{shape[2]:>6}{queries:>4}"
            times = f"{row['floor']:>8.1f}{bmm:>8}{row['contraction']:>8.1f}"
            ratios = f"{row['ratio']:>7.2f} ({row['bound']:.2f})"
            rates = f"{row['floor_gflops']:>7.0f} {row['contraction_gflops']:>4.0f}"
            print(f"{name:<18}{sizes}{times}{ratios}{rates}", flush=True)
    write_result("contraction_rate", found, options.output, torch=torch.__version__, rounds=options.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())

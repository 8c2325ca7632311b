"""What the gradient engine costs, in units of one ordinary forward and backward pass (the floor).

Floor and engine run interleaved in one process on the same images, with the same model, batch size and
dtype. A ratio is the median over rounds of CPU seconds divided by the floor's of the same round, since
other programs share the machine. The engine's work includes preconditioned scores and self-influence; query
gradients are timed apart. `frozen`: forward and input gradient alone. Peak memory comes from fresh processes.

    python benchmarks/engine_cost.py                       # the sweep of docs/performance.md
    python benchmarks/engine_cost.py --models test_vit:32 --queries 9 --images 8 --rounds 1
"""

import argparse
import ctypes
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from dated_result import write_result
from engine_subject import Subject, build_subject

CHOICES = ["adam", "paper", "sgd", "less", "ekfac", "ekfac_scores"]
"""`ekfac_scores`: without self-influence."""


def seconds(work: Callable[[], object], device: str) -> float:
    """CPU seconds of this process, all threads together, that one call takes; on a GPU, wall seconds."""
    if device == "cpu":
        started = time.process_time()
        work()
        return time.process_time() - started
    torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - started


def interleaved_ratios(
    floor: Callable[[], object], others: dict[str, Any], rounds: int, device: str
) -> dict[str, Any]:
    """Median ratio to the floor and seconds per call of each contender."""
    for work in (floor, *others.values()):
        work()  # the first call allocates
    floors: list[float] = []
    times: dict[str, list[float]] = {name: [] for name in others}
    for _ in range(rounds):
        floors.append(seconds(floor, device))
        for name, work in others.items():
            times[name].append(seconds(work, device))
    found: dict[str, Any] = {"floor": {"seconds": statistics.median(floors), "ratio": 1.0}}
    for name, taken in times.items():
        ratios = [own / base for own, base in zip(taken, floors, strict=True)]
        spread = [min(ratios), max(ratios)]
        found[name] = {
            "seconds": statistics.median(taken),
            "ratio": statistics.median(ratios),
            "spread": spread,
        }
    return found


def measure(case: dict[str, Any], rounds: int) -> dict[str, Any]:
    """One row of the table."""
    subject = build_subject(**case)
    timed = {"engine": subject.engine, "frozen": subject.frozen}
    found = interleaved_ratios(subject.floor, timed, rounds, case["device"])
    found["engine"]["error_to_float64"] = subject.error_to_float64()
    found["query_gradients_seconds"] = seconds(subject.query_gradients, case["device"])
    found["query_gradient_mib"] = subject.query_mib
    found["ekfac_fit_seconds"] = subject.fit_seconds
    for name in ("floor", "engine"):
        found[name]["peak_mib"] = in_fresh_process(case, name)
    return {"case": case, "found": found}


def in_fresh_process(case: dict[str, Any], name: str) -> float:
    """Growth of the resident memory at its peak over one warm and two further passes."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_peak_memory, args=(case, name, sender))
    process.start()
    peak = float(receiver.recv())
    process.join()
    return peak


def _peak_memory(case: dict[str, Any], name: str, sender: Any) -> None:
    subject: Subject = build_subject(**case)
    work = getattr(subject, name)
    if case["device"] != "cpu":
        torch.cuda.empty_cache()
        held = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        work()
        sender.send((torch.cuda.max_memory_allocated() - held) / 2**20)
        return
    ctypes.CDLL(None).malloc_trim(0)  # give the set-up's freed memory back
    Path("/proc/self/clear_refs").write_text("5")  # and forget its peak
    before = _status_mib("VmRSS")
    for _ in range(3):
        work()
    sender.send(_status_mib("VmHWM") - before)


def _status_mib(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def report(rows: list[dict[str, Any]]) -> None:
    """Print the table."""
    where = f"{'model':<24}{'px':>4}{'B':>5}{'M':>5}"
    print(f"{where}  {'who':<8}{'ratio':>7}{'ms/image':>10}{'peak MiB':>10}  note")
    for row in rows:
        case, found = row["case"], row["found"]
        for name, values in found.items():
            if not isinstance(values, dict):
                continue
            per_image = 1e3 * values["seconds"] / case["images"]
            peak = f"{values['peak_mib']:.0f}" if "peak_mib" in values else ""
            note = ""
            if "error_to_float64" in values:
                error = values["error_to_float64"]
                exact = "" if error is None else f"error {error:.1e}, "
                note = f"{case['precondition']}, {exact}queries {found['query_gradient_mib']:.0f} MiB"
            where = f"{case['encoder']:<24}{case['side_px']:>4}{case['images']:>5}{case['queries']:>5}"
            print(
                f"{where}  {name:<8}{values['ratio']:>7.2f}{per_image:>10.2f}{peak:>10}  {note}", flush=True
            )


def main() -> int:
    """Run the sweep, print it, and write a dated JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=["convnext_atto:96", "vit_tiny_patch16_224:96"])
    parser.add_argument("--queries", nargs="+", type=int, default=[9, 64])
    parser.add_argument("--images", type=int, default=64, help="images in one pass")
    parser.add_argument("--precondition", default="adam", choices=CHOICES)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--output", type=Path, default=None, help="JSON; default: results/engine_cost-<date>.json"
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = []
    for model in options.models:
        encoder, _, side = model.partition(":")
        for queries in options.queries:
            case = {
                "encoder": encoder,
                "side_px": int(side),
                "images": options.images,
                "queries": queries,
                "precondition": options.precondition,
                "seed": 0,
                "device": options.device,
            }
            rows.append(measure(case, options.rounds))
            report(rows[-1:])
    write_result(
        "engine_cost",
        rows,
        options.output,
        gpu=torch.cuda.get_device_name() if options.device == "cuda" else "",
        threads=options.threads,
        torch=torch.__version__,
        rounds=options.rounds,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

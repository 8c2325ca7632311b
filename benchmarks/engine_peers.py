"""The gradient engine beside other libraries: cost in floors, agreement of scores, parameters left out.

Task, floor and clock are those of engine_cost.py: one process, interleaved rounds, CPU seconds; query
gradients are computed before the clock starts. The engine's pass includes Adam's weights and
self-influence; the table says what a peer does. What a peer does once per data set, or repeats without need
(query gradients, loading the checkpoint, collecting garbage), is kept out of its time. A peer's scores are
compared with the engine's over the parameters that it covers; the largest difference is relative to the
largest score. A peer that is run on fewer images is scaled (column `on`). Peers are not dependencies of the
project: peers-requirements.txt installs them.

    python benchmarks/engine_peers.py                  # the sweep of docs/performance.md
    python benchmarks/engine_peers.py --models vit_tiny_patch16_224:96 --peers kronfluence bergson --rounds 1
"""

import argparse
import dataclasses
import importlib.metadata
import importlib.util
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from dated_result import write_result
from engine_cost import interleaved_ratios
from engine_subject import Scores, Subject, build_subject
from peers.bergson_hooks import token_linears
from peers.captum_tracin import tracincp
from peers.contender import Classifier, Contender
from peers.dattri_tracin import tracin
from peers.kronfluence_identity import identity_factor
from peers.whole_gradients import pydvl_provider, vmap_of_grad

from grasp_ray.influence.preconditioners import Preconditioner
from grasp_ray.influence.product_sinks import product_sinks


@dataclasses.dataclass(frozen=True)
class Peer:
    """A way to the scores that some package offers."""

    package: str
    make: Callable[[Subject], Contender | None]
    """None where the package covers no parameter of the model."""
    does: str

    @property
    def version(self) -> str | None:
        """None where it is not installed."""
        if importlib.util.find_spec(self.package.lower()) is None:
            return None
        return importlib.metadata.version(self.package)


_TRACINCP = "plain TracIn; one line patched"
ALL_PEERS = {
    "vmap": Peer("torch", vmap_of_grad, "Adam's weights, self-influence; 16 images at once"),
    "pydvl": Peer("pyDVL", pydvl_provider, "Adam's weights, self-influence; 16 images at once"),
    "kronfluence": Peer("kronfluence", identity_factor, "plain TracIn; Linear and Conv2d only"),
    "kronfluence-depthwise": Peer(
        "kronfluence", partial(identity_factor, depthwise_only=True), "the same on depthwise alone: wrong"
    ),
    "dattri": Peer("dattri", tracin, "Adam's weights; its projection turned off"),
    "bergson": Peer("bergson", token_linears, "Adam's weights; Linear over tokens only"),
    "captum-1": Peer("captum", partial(tracincp, batch_size=1), f"{_TRACINCP}; batches of 1"),
    "captum-8": Peer("captum", partial(tracincp, batch_size=8), f"{_TRACINCP}; batches of 8"),
    "captum-64": Peer("captum", partial(tracincp, batch_size=64), f"{_TRACINCP}; batches of 64"),
}


def measure(case: dict[str, Any], names: list[str], rounds: int) -> dict[str, Any]:
    """Floor, engine and peers on one model."""
    subject = build_subject(**case)
    contenders: dict[str, Contender] = {}
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        peer = ALL_PEERS[name]
        contender = None if peer.version is None else peer.make(subject)
        if contender is None:
            found[name] = {"absent": "not installed" if peer.version is None else "covers no parameter"}
        else:
            contenders[name] = contender
            found[name] = {"version": peer.version, "does": peer.does}
    kept: dict[str, Scores] = {}
    works = {name: partial(_keep_scores, kept, name, contender) for name, contender in contenders.items()}
    timed = interleaved_ratios(subject.floor, {"engine": subject.engine} | works, rounds, case["device"])
    for name, contender in contenders.items():
        found[name] |= judged(subject, contender, kept[name])
        found[name] |= _scaled(timed[name], case["images"] / contender.images)
    return {"case": case, "found": {"floor": timed["floor"], "engine": timed["engine"]} | found}


def _keep_scores(kept: dict[str, Scores], name: str, contender: Contender) -> None:
    kept[name] = contender.scores()


def _scaled(timed: dict[str, Any], factor: float) -> dict[str, Any]:
    return {
        "seconds": timed["seconds"] * factor,
        "ratio": timed["ratio"] * factor,
        "spread": [ratio * factor for ratio in timed["spread"]],
    }


def judged(subject: Subject, contender: Contender, scores: Scores) -> dict[str, Any]:
    """How far the scores are from the engine's, and which parameters they leave out."""
    expected = engine_over(subject, contender.covered, contender.weighted)[0][: contender.images]
    difference = (scores[0].double() - expected).abs().max() / expected.abs().max()
    classifier, left_out = Classifier(subject), Counter[str]()
    for name, parameter in classifier.named_parameters():
        if name not in contender.covered:
            owner, _, last = name.rpartition(".")
            left_out[f"{type(classifier.get_submodule(owner)).__name__}.{last}"] += parameter.numel()
    return {
        "images": contender.images,
        "largest_relative_difference": float(difference),
        "parameters": sum(parameter.numel() for parameter in classifier.parameters()),
        "left_out": left_out.total(),
        "left_out_by_kind": dict(left_out),
    }


def engine_over(subject: Subject, covered: frozenset[str], weighted: bool) -> Scores:
    """The engine's scores with the queries set to zero outside `covered`, with or without Adam's weights."""
    own = subject if weighted else dataclasses.replace(subject, preconditioner=Preconditioner())
    queries = own.query_gradients()
    for name, gradient in queries.items():
        if name not in covered:
            gradient.zero_()
    shapes = {name: parameter.shape for name, parameter in subject.parameters.all.items()}
    return dataclasses.replace(own, sinks=product_sinks(queries, own.preconditioner, shapes)).engine()


def report(row: dict[str, Any]) -> None:
    """Print one model's table."""
    case = row["case"]
    print(f"\n{case['encoder']}, {case['side_px']} px, B = {case['images']}, M = {case['queries']}")
    print(f"{'who':<22}{'version':>8}{'floors':>8}{'spread':>14}{'engines':>9}{'on':>4}", end="")
    print(f"{'differs':>9}{'left out':>18}  does")
    engine = row["found"]["engine"]["ratio"]
    for name, values in row["found"].items():
        if "absent" in values:
            print(f"{name:<22}{values['absent']}")
            continue
        spread = "–".join(f"{ratio:.2f}" for ratio in values.get("spread", []))
        print(f"{name:<22}{values.get('version', ''):>8}{values['ratio']:>8.2f}{spread:>14}", end="")
        print(f"{values['ratio'] / engine:>9.2f}", end="")
        if "left_out" in values:
            left_out = f"{values['left_out']:,} ({values['left_out'] / values['parameters']:.1%})"
            print(f"{values['images']:>4}{values['largest_relative_difference']:>9.0e}{left_out:>18}", end="")
            print(f"  {values['does']}", end="")
        print(flush=True)


def main() -> int:
    """Run the sweep, print it, and write a dated JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=["convnext_atto:96", "vit_tiny_patch16_224:96"])
    parser.add_argument("--peers", nargs="+", choices=list(ALL_PEERS), default=list(ALL_PEERS))
    parser.add_argument("--images", type=int, default=64, help="images in one pass")
    parser.add_argument("--queries", type=int, default=9)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, help="JSON; default: results/engine_peers-<date>.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for model in options.models:
        encoder, _, side = model.partition(":")
        case = {"encoder": encoder, "side_px": int(side), "images": options.images}
        case |= {"queries": options.queries, "precondition": "adam", "seed": 0, "device": "cpu"}
        rows.append(measure(case, options.peers, options.rounds))
        report(rows[-1])
    write_result(
        "engine_peers", rows, options.output, threads=1, torch=torch.__version__, rounds=options.rounds
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

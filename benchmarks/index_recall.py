"""How good the gradient index's lists are, and what it costs, on a run that was trained and scored.

For each setting of the index: the correlation of approximate with exact scores, the share of each query's 10
(50) most harmful photos among the approximate list's first 10 (50), and the same after the head of the list
(100 photos at either end) is scored again exactly. Cost is CPU seconds per photo and checkpoint, index
against exact pass, interleaved in one process. Run the demo first (`make demo`).

    python benchmarks/index_recall.py --run runs/demo
"""

import argparse
import itertools
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from dated_result import write_result

from grasp_ray.config import AuditConfig
from grasp_ray.influence.gradient_index import CheckpointSketch
from grasp_ray.influence.head import head_candidates, recall_at
from grasp_ray.influence.index_settings import IndexSettings
from grasp_ray.influence.replay import CheckpointReplay, fit_checkpoint_ekfac
from grasp_ray.influence.scores import combine
from grasp_ray.influence.settings import InfluenceSettings
from grasp_ray.mil.model import MILModel, build_model
from grasp_ray.on_ray.replay_plan import visit_batches
from grasp_ray.storage import Storage
from grasp_ray.training.replay_checkpoint import checkpoint_names, load_checkpoint, load_record
from grasp_ray.trial.bags import BagBatch, load_bags
from grasp_ray.trial.photo_store import PhotoStore


class Subject:
    """The run's training photos, queries and checkpoints."""

    def __init__(self, folder: Path, checkpoints: int, visits: int | None):
        self.run = Storage.at(folder)
        self.config = AuditConfig.model_validate(self.run.read_json("run.json")["config"])
        manifest = self.run.read_table("manifest.parquet")
        train = manifest[manifest["split"] == "train"]
        chosen = sorted(train["visit_id"].unique())[:visits]
        self.train = train[train["visit_id"].isin(chosen)]
        self.queries = self.run.read_table("queries.parquet")
        store = PhotoStore(self.run)
        self.query_bags = load_bags(manifest, store, sorted(self.queries["visit_id"]))
        self.batches: list[BagBatch] = list(visit_batches(self.train, store, 32))
        self.storage = self.run.child("checkpoints")
        self.names = checkpoint_names(self.storage)[-checkpoints:]
        self.records = [load_record(self.storage, name) for name in self.names]

    def model(self) -> MILModel:
        """An untrained model of the run's kind."""
        settings = self.config.model.model_copy(update={"weights": "none"})
        return build_model(settings, image_side_px=self.config.trial.image_side_px, seed=0)

    def combined(self, frames: list[pd.DataFrame], influence: InfluenceSettings) -> pd.DataFrame:
        """Scores from raw products."""
        return combine(pd.concat(frames, ignore_index=True), self.records, self.train, influence)


def measure(
    subject: Subject, preconditions: list[str], cases: list[IndexSettings]
) -> tuple[dict[str, list[pd.DataFrame]], dict[tuple[int, str], list[pd.DataFrame]], list[float], float]:
    """Raw products of every preconditioner, exact and by every index; seconds per index and exact pass."""
    exact: dict[str, list[pd.DataFrame]] = {kind: [] for kind in preconditions}
    approximate: dict[tuple[int, str], list[pd.DataFrame]] = {
        (case, kind): [] for case in range(len(cases)) for kind in preconditions
    }
    index_seconds, exact_seconds = [0.0] * len(cases), 0.0
    for name in subject.names:
        checkpoint = load_checkpoint(subject.storage, name)
        kinds = {kind: InfluenceSettings(precondition=kind, device="cpu") for kind in preconditions}
        factors = None
        if "ekfac" in kinds:
            factors = fit_checkpoint_ekfac(
                subject.model(), checkpoint, kinds["ekfac"], lambda: subject.batches
            )
        parts = []
        for index, case in enumerate(cases):
            started = time.process_time()
            sketch = CheckpointSketch(subject.model(), checkpoint, kinds[preconditions[0]], case)
            part = pd.concat([sketch.compress(bags) for bags in subject.batches], ignore_index=True)
            index_seconds[index] += time.process_time() - started
            parts.append(part)
        for kind, settings in kinds.items():
            started = time.process_time()
            replay = CheckpointReplay(
                subject.model(), checkpoint, settings, subject.queries, subject.query_bags, factors
            )
            exact[kind] += [replay.score(bags) for bags in subject.batches]
            exact_seconds += (time.process_time() - started) / len(kinds)
            for index, case in enumerate(cases):
                sketch = CheckpointSketch(subject.model(), checkpoint, settings, case)
                asked = sketch.queries(subject.queries, subject.query_bags, factors)
                approximate[index, kind].append(asked.answer(parts[index]))
        print(f"{name} done", flush=True)
    return exact, approximate, index_seconds, exact_seconds


def rows_of(subject: Subject, preconditions: list[str], cases: list[IndexSettings]) -> list[dict[str, Any]]:
    """One row per index and preconditioner."""
    exact, approximate, index_seconds, exact_seconds = measure(subject, preconditions, cases)
    rows = []
    for (index, kind), frames in approximate.items():
        influence = InfluenceSettings(precondition=kind)
        true, found = (subject.combined(raw, influence) for raw in (exact[kind], frames))
        columns = [column for column in true.columns if column.startswith("score:")]
        again = true[true["image_id"].isin(head_candidates(found, cases[index].candidates))]
        row = {
            "precondition": kind,
            "balance": cases[index].balance,
            "width": cases[index].width,
            "k": cases[index].dimension,
            "bytes": 2 * cases[index].dimension,
            "correlation": float(pd.Series([true[c].corr(found[c]) for c in columns]).median()),
            "cost": index_seconds[index] / exact_seconds,
            "scored_again": len(again) / len(true),
        }
        for k in (10, 50):
            row[f"recall@{k}"] = recall_at(found, true, k)
            if k <= cases[index].candidates:
                row[f"recall@{k} again"] = recall_at(again, true, k)
        rows.append(row)
    return rows


def main() -> int:
    """Run all settings, print the table, write a dated JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, default=Path("runs/demo"))
    parser.add_argument("--errors", nargs="+", type=float, default=[0.1, 0.04, 0.02])
    parser.add_argument("--widths", nargs="+", type=int, default=[16, 32])
    parser.add_argument("--balance", nargs="+", choices=["yes", "no"], default=["yes", "no"])
    parser.add_argument("--preconditions", nargs="+", default=["adam", "sgd"])
    parser.add_argument("--checkpoints", type=int, default=2, help="the last ones")
    parser.add_argument("--visits", type=int, default=None, help="training visits; default all")
    parser.add_argument("--candidates", type=int, default=100)
    parser.add_argument("--output", type=Path, default=None)
    options = parser.parse_args()
    torch.set_num_threads(1)
    subject = Subject(options.run, options.checkpoints, options.visits)
    cases = [
        IndexSettings(error=error, width=width, balance=balance == "yes", candidates=options.candidates)
        for balance, width, error in itertools.product(options.balance, options.widths, options.errors)
    ]
    rows = rows_of(subject, options.preconditions, cases)
    print(pd.DataFrame(rows).round(3).to_string(index=False))
    write_result(
        "index_recall",
        rows,
        options.output,
        photos=len(subject.train),
        queries=len(subject.queries),
        checkpoints=len(subject.names),
        encoder=subject.config.model.encoder,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

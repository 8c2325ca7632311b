"""Does removal also help a network that is trained end to end? Four arms of conf/demo.yaml's network.

Needs the finished run of jobs/benchmark_flaggers.py, whose trials and scores it takes:

    python benchmarks/removal_end_to_end.py trials/evidence runs/evidence runs/evidence_end_to_end

Arms: baseline, the most suspect visits by confident learning removed, as many of the same classes by chance,
and the planted errors removed. Writes arms.csv (test AUC) and flaggers.csv into the third folder.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from grasp_ray.config import AuditConfig, load_config
from grasp_ray.evidence.finding import finding_rows
from grasp_ray.pruning.flaggers import DYNAMICS_FLAGGERS, flag
from grasp_ray.storage import Storage
from grasp_ray.training.arm import DYNAMICS, ArmTraining, train_arm_in_process
from grasp_ray.training.prediction import predict_bags
from grasp_ray.training.trained_model import load_trained_model
from grasp_ray.training.validation_metrics import micro_auc
from grasp_ray.trial.bags import load_bags
from grasp_ray.trial.manifest import build_manifest, write_manifest
from grasp_ray.trial.photo_store import PhotoStore, write_photo_shard
from grasp_ray.trial.settings import TrialSettings
from grasp_ray.trial.tables import read_trial

BUDGET_SHARE = 0.10


def prepared(trial: Storage, run: Storage, settings: TrialSettings) -> pd.DataFrame:
    """Decode the trial's photos into the run; return the manifest."""
    manifest = build_manifest(read_trial(trial), settings)
    for _, rows in manifest.groupby("photo_shard"):
        write_photo_shard(trial, run, rows, settings)
    write_manifest(run, manifest)
    return manifest


def removed_visits(
    scores: pd.DataFrame, truth: pd.DataFrame, manifest: pd.DataFrame, seed: int
) -> dict[str, set[str]]:
    """The training visits that each arm does without."""
    suspect = scores[scores["flagger"] == "confident_learning"].sort_values(
        ["score", "id"], ascending=[False, True]
    )
    first = set(suspect["id"].head(round(BUDGET_SHARE * len(suspect))))
    visits = manifest[manifest["split"] == "train"].drop_duplicates("visit_id")
    wanted = visits[visits["visit_id"].isin(first)]["label"].value_counts()
    shuffled = visits.iloc[np.random.default_rng([seed, 41]).permutation(len(visits))]
    matched = shuffled[shuffled.groupby("label").cumcount() < shuffled["label"].map(wanted).fillna(0)]
    return {
        "baseline": set(),
        "oracle_removal": set(truth.loc[truth["label_error"], "visit_id"]),
        "confident_learning": first,
        "class_matched": set(matched["visit_id"]),
    }


def test_auc(run: Storage, arm: str, manifest: pd.DataFrame) -> float:
    """Micro-average AUC on the test visits."""
    model, store = load_trained_model(run.child(arm)).model, PhotoStore(run)
    test = manifest[manifest["split"] == "test"]
    visits = sorted(test["visit_id"].unique())
    parts = [
        predict_bags(model, load_bags(test, store, visits[i : i + 4])).predictions
        for i in range(0, len(visits), 4)
    ]
    table = pd.concat(parts).merge(test.drop_duplicates("visit_id")[["visit_id", "label"]], on="visit_id")
    columns = [name for name in table if name.startswith("probability_")]
    return micro_auc(table["label"].to_numpy(np.int64), table[columns].to_numpy())


def main(trials: str, evidence: str, output: str) -> None:
    """All trials, one after the other; tables are written after each."""
    torch.set_num_threads(1)
    config: AuditConfig = load_config("conf/demo.yaml")
    arms, found = [], []
    for folder in sorted(Path(evidence).glob("trial=*")):
        seed = int(folder.name.removeprefix("trial="))
        tables, run = Storage.at(str(folder)), Storage.at(output).child(folder.name)
        manifest = prepared(Storage.at(trials).child(f"seed={seed:04d}"), run, config.trial)
        truth = tables.read_table("truth.parquet")
        for arm, gone in removed_visits(
            tables.read_table("visit_scores.parquet"), truth, manifest, seed
        ).items():
            photos = manifest.loc[
                manifest["visit_id"].isin(gone) & (manifest["split"] == "train"), "image_id"
            ]
            train_arm_in_process(
                ArmTraining(
                    run=run, folder=f"arms/{arm}", arm=arm, k=0, seed=seed, model=config.model,
                    train=config.train, image_side_px=config.trial.image_side_px,
                    removed_image_ids=tuple(photos),
                )
            )  # fmt: skip
            arms.append((seed, arm, test_auc(run, f"arms/{arm}", manifest)))
            print(*arms[-1], flush=True)
        dynamics = run.child("arms/baseline").read_table(DYNAMICS)
        scores = pd.concat(
            [
                flag(name, dynamics=dynamics, influence=pd.DataFrame()).assign(flagger=name)
                for name in DYNAMICS_FLAGGERS
            ]
        )
        wrong = truth.loc[truth["label_error"], "visit_id"]
        found.append(finding_rows(scores, wrong, "label error").assign(trial=seed))
        pd.DataFrame(arms, columns=["trial", "arm", "auc"]).to_csv(Path(output, "arms.csv"), index=False)
        pd.concat(found).to_csv(Path(output, "flaggers.csv"), index=False)


if __name__ == "__main__":
    main(*sys.argv[1:4])

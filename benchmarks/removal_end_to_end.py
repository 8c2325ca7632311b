"""Does acting on suspects also help a network that is trained end to end? Arms of conf/demo.yaml's network.

Needs the finished run of jobs/benchmark_flaggers.py, whose trials and scores it takes:

    python benchmarks/removal_end_to_end.py trials/evidence runs/evidence runs/evidence_end_to_end

Arms: baseline; the 5 and 10 % most suspect visits by confident learning removed; as many as the latter of the
same classes by chance; a second reading of the 10 %; the planted errors removed. `chosen` is, of the baseline
and the two removals, the arm of the best validation AUC: what an audit does. Writes arms.csv and summary.csv.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from grasp_ray.config import AuditConfig, load_config
from grasp_ray.evaluation.across_trials import sign_flip_p, t_interval
from grasp_ray.pruning.controls import drawn_like
from grasp_ray.pruning.removal import training_rows
from grasp_ray.pruning.suspects import suspect_removal
from grasp_ray.storage import Storage
from grasp_ray.training.arm import ArmTraining, train_arm_in_process
from grasp_ray.training.prediction import predict_bags
from grasp_ray.training.trained_model import load_trained_model
from grasp_ray.training.validation_metrics import micro_auc
from grasp_ray.trial.bags import load_bags
from grasp_ray.trial.manifest import build_manifest, write_manifest
from grasp_ray.trial.photo_store import PhotoStore, write_photo_shard
from grasp_ray.trial.settings import TrialSettings
from grasp_ray.trial.tables import read_trial

REVIEW = "review_10"
REVIEWED = "manifest_review.parquet"
CHOICE = ("baseline", "confident_learning_5", "confident_learning_10")


def prepared(trial: Storage, run: Storage, settings: TrialSettings) -> pd.DataFrame:
    """Decode the trial's photos into the run; return the manifest."""
    manifest = build_manifest(read_trial(trial), settings)
    for _, rows in manifest.groupby("photo_shard"):
        write_photo_shard(trial, run, rows, settings)
    write_manifest(run, manifest)
    return manifest


def suspects(scores: pd.DataFrame, manifest: pd.DataFrame, percent: int) -> set[str]:
    """The first visits of confident learning's ranking."""
    ranked = scores[scores["flagger"] == "confident_learning"]
    return set(suspect_removal(ranked, manifest, percent=percent, flagger="confident_learning")["visit_id"])


def removed_visits(
    scores: pd.DataFrame, truth: pd.DataFrame, manifest: pd.DataFrame, seed: int
) -> dict[str, set[str]]:
    """The training visits that each arm does without."""
    first = suspects(scores, manifest, 10)
    visits = training_rows(manifest).drop_duplicates("visit_id")
    shuffled = visits.iloc[np.random.default_rng([seed, 41]).permutation(len(visits))]
    matched = drawn_like("class_matched", shuffled, visits[visits["visit_id"].isin(first)])
    return {
        "baseline": set(),
        "oracle_removal": set(truth.loc[truth["label_error"], "visit_id"]),
        "confident_learning_5": suspects(scores, manifest, 5),
        "confident_learning_10": first,
        "class_matched_10": set(matched["visit_id"]),
        REVIEW: set(),
    }


def write_reviewed(run: Storage, manifest: pd.DataFrame, truth: pd.DataFrame, seen: set[str]) -> None:
    """The manifest after a reader looked at `seen` again."""
    again = truth[truth["visit_id"].isin(seen)].set_index("visit_id")["reread_label"]
    labels = manifest["visit_id"].map(again).fillna(manifest["label"]).astype(manifest["label"].dtype)
    run.write_table(
        REVIEWED, manifest.assign(label=labels.where(manifest["split"] == "train", manifest["label"]))
    )


def auc(run: Storage, arm: str, manifest: pd.DataFrame, split: str) -> float:
    """Micro-average AUC on the visits of a split."""
    model, store = load_trained_model(run.child(arm)).model, PhotoStore(run)
    rows = manifest[manifest["split"] == split]
    visits = sorted(rows["visit_id"].unique())
    parts = [
        predict_bags(model, load_bags(rows, store, visits[i : i + 4])).predictions
        for i in range(0, len(visits), 4)
    ]
    table = pd.concat(parts).merge(rows.drop_duplicates("visit_id")[["visit_id", "label"]], on="visit_id")
    columns = [name for name in table if name.startswith("probability_")]
    return micro_auc(table["label"].to_numpy(np.int64), table[columns].to_numpy())


def study(config: AuditConfig, trial: Storage, tables: Storage, run: Storage, seed: int) -> pd.DataFrame:
    """Train every arm on one trial; columns trial, arm, validation, test (AUC)."""
    manifest = prepared(trial, run, config.trial)
    truth, scores = tables.read_table("truth.parquet"), tables.read_table("visit_scores.parquet")
    write_reviewed(run, manifest, truth, suspects(scores, manifest, 10))
    rows = []
    for arm, gone in removed_visits(scores, truth, manifest, seed).items():
        photos = manifest.loc[manifest["visit_id"].isin(gone) & (manifest["split"] == "train"), "image_id"]
        train_arm_in_process(
            ArmTraining(
                run=run, folder=f"arms/{arm}", arm=arm, k=0, seed=seed, model=config.model,
                train=config.train, image_side_px=config.trial.image_side_px,
                removed_image_ids=tuple(photos),
                manifest=REVIEWED if arm == REVIEW else "manifest.parquet",
            )
        )  # fmt: skip
        aucs = [auc(run, f"arms/{arm}", manifest, split) for split in ("validation", "test")]
        rows.append((seed, arm, *aucs))
        print(*rows[-1], flush=True)
    table = pd.DataFrame(rows, columns=["trial", "arm", "validation", "test"])
    best = table.loc[table.loc[table["arm"].isin(CHOICE), "validation"].idxmax()]
    return pd.concat([table, best.to_frame().T.assign(arm="chosen")], ignore_index=True)


def summary(arms: pd.DataFrame) -> pd.DataFrame:
    """Test AUC of each arm and its gain, with Student's t over trials and the sign-flip p."""
    auc_TA = arms.astype({"test": "float64"}).pivot_table(index="trial", columns="arm", values="test")
    rows = []
    for against in ("baseline", "class_matched_10"):
        for arm in auc_TA.columns.drop(against):
            gain_T = (auc_TA[arm] - auc_TA[against]).to_numpy()
            low, high = t_interval(gain_T, 0.95)
            p_value, won = sign_flip_p(gain_T), int((gain_T > 0).sum())
            rows.append(
                (arm, against, auc_TA[arm].mean(), gain_T.mean(), low, high, p_value, won, len(gain_T))
            )
    columns = ["arm", "against", "auc", "gain", "low", "high", "p", "won", "trials"]
    return pd.DataFrame(rows, columns=columns)


def main(trials: str, evidence: str, output: str) -> None:
    """All trials, one after the other; tables are written after each."""
    torch.set_num_threads(1)
    config: AuditConfig = load_config("conf/demo.yaml")
    found: list[pd.DataFrame] = []
    for folder in sorted(Path(evidence).glob("trial=*")):
        seed = int(folder.name.removeprefix("trial="))
        trial, run = Storage.at(trials).child(f"seed={seed:04d}"), Storage.at(output).child(folder.name)
        found.append(study(config, trial, Storage.at(str(folder)), run, seed))
        pd.concat(found).to_csv(Path(output, "arms.csv"), index=False)
    table = summary(pd.concat(found))
    table.to_csv(Path(output, "summary.csv"), index=False)
    print(table.round(3).to_string(index=False))


if __name__ == "__main__":
    main(*sys.argv[1:4])

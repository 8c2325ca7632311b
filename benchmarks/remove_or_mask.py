"""Flagged photos: remove them, or hide all of them but the lesion? The same photos in both arms.

python benchmarks/remove_or_mask.py <folder> <mobilenetv2_035 weights> <first seed> <last seed>

A simulated trial per seed, with the artefacts of conf/shortcut_simulated.yaml (linked to a class in training
only), seen through the frozen encoder of conf/evidence.yaml with the MIL model trained behind it. Writes
arms.csv (a row per trial, training seed and arm) and prints the twins' differences over trials.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from grasp_ray.audits.artefact_auroc import annotated, artefact_table
from grasp_ray.audits.masking import masked_photo
from grasp_ray.config import AuditConfig, load_config
from grasp_ray.evaluation.across_trials import sign_flip_p, t_interval
from grasp_ray.evaluation.delong import one_versus_rest_auc
from grasp_ray.evidence.arms import Arm, opponent_photos
from grasp_ray.evidence.encoded_trial import EncodedTrial
from grasp_ray.evidence.network import Network, train_network
from grasp_ray.evidence.remove_or_mask import MASKED, REMOVED, photos_for_both, twin_arms
from grasp_ray.evidence.tracing import misclassified_queries, trace
from grasp_ray.mil.model import build_model
from grasp_ray.pipeline.audited_run import annotated_artefacts, artefact_name
from grasp_ray.pipeline.run_folder import RunFolder
from grasp_ray.storage import Storage
from grasp_ray.training.encoding import encode_photos
from grasp_ray.trial.manifest import build_manifest, write_manifest
from grasp_ray.trial.masks import load_masks
from grasp_ray.trial.photo_store import PhotoStore, read_photo_index, write_photo_shard
from grasp_ray.trial.simulate.cohort import plan_trial, write_tables
from grasp_ray.trial.simulate.render import render_shard
from grasp_ray.trial.tables import read_trial

CONF = Path(__file__).parents[1] / "conf"
SHARE = 0.10
"""Of the training photos: how many opponents are flagged; those that cannot be masked are then left out."""
PHOTOS_PER_VISIT = 3
"""The first ones of six: a trial takes a minute of one core instead of two."""
TRAINING_SEEDS = (0, 1)
FLAGGED, CONTROL, ARTEFACTS = "opponents", "as many by chance, per class", "all photos with an artefact"
MEASURES = ("auc", "robust")


def config_of(home: Path, weights: str, seed: int) -> AuditConfig:
    """One trial with linked artefacts, under the network of the evidence study."""
    name = f"linked_{seed}"
    planted = load_config(str(CONF / "shortcut_simulated.yaml"), [])
    overrides = [f"run.name={name}", f"run.root={home}/runs", f"trial.uri={home}/trials/{name}"]
    overrides += [f"simulate.seed={seed}", f"model.weights={weights}", "track.enabled=false"]
    config = load_config(str(CONF / "evidence.yaml"), overrides)
    assert config.simulate is not None
    assert planted.simulate is not None
    drawn = config.simulate.model_copy(update={"artefacts": planted.simulate.artefacts})
    return config.model_copy(update={"simulate": drawn})


def prepared(config: AuditConfig) -> RunFolder:
    """Draw the trial and decode its photos, in this process; one that is there is kept."""
    assert config.simulate is not None
    trial, run = Storage.at(config.trial.uri), RunFolder.of(config)
    if not trial.exists("simulate.json"):
        plan = plan_trial(config.simulate)
        kept_I = plan.images.groupby("visit_id").cumcount() < PHOTOS_PER_VISIT
        plan = replace(plan, images=plan.images[kept_I].reset_index(drop=True))
        render_shard(plan.images, trial, config.simulate)
        write_tables(plan, trial)
        trial.write_json("simulate.json", config.simulate.model_dump(mode="json"))
    manifest = build_manifest(read_trial(trial), config.trial)
    for _, rows in manifest.groupby("photo_shard"):
        write_photo_shard(trial, run.storage, rows, config.trial)
    write_manifest(run.storage, manifest)
    return run


def encoded(config: AuditConfig, run: RunFolder) -> tuple[EncodedTrial, np.ndarray, list[str]]:
    """The trial, the features of its training photos with only the lesion shown (on the same scale), and the
    photos with a usable mask."""
    manifest = run.manifest().reset_index(drop=True)
    model = build_model(config.model, image_side_px=config.trial.image_side_px, seed=0)
    photos = PhotoStore(run.storage).read(manifest)
    train = manifest[manifest["split"] == "train"]
    index = read_photo_index(run.storage)
    masks = load_masks(Storage.at(config.trial.uri), train, index, config.trial.image_side_px)
    row_of = dict(zip(manifest["image_id"], manifest.index, strict=True))
    whole_IF = encode_photos(model, photos)
    masked_IF, rows = whole_IF.copy(), [row_of[image_id] for image_id in masks.image_ids]
    shown = [
        masked_photo(photos[row], mask, "only_roi", "mean")
        for row, mask in zip(rows, masks.masks_MSS, strict=True)
    ]
    masked_IF[rows] = encode_photos(model, np.stack(shown))
    centre, scale = whole_IF[train.index].mean(axis=0), whole_IF[train.index].std(axis=0) + 1e-6
    trial = EncodedTrial(manifest, (whole_IF - centre) / scale, pd.DataFrame(), pd.DataFrame())
    return trial, (masked_IF - centre) / scale, masks.image_ids


def arms_of(
    config: AuditConfig, network: Network, encoded_trial: tuple[EncodedTrial, np.ndarray, list[str]],
    flags: pd.DataFrame, seed: int,
) -> list[Arm]:  # fmt: skip
    """Every arm but the baseline, which is there already as `network`."""
    trial, masked_IF, maskable = encoded_trial
    queries = misclassified_queries(network, trial, config.influence)
    influence = trace(network, trial, config.model, config.influence, queries)
    flagged = photos_for_both(opponent_photos(influence, SHARE), trial, maskable)
    train = trial.manifest[trial.manifest["split"] == "train"]
    shuffled = train.iloc[np.random.default_rng([seed, 51]).permutation(len(train))]
    possible = shuffled[shuffled["image_id"].isin(photos_for_both(shuffled["image_id"], trial, maskable))]
    wanted = train[train["image_id"].isin(flagged)]["label"].value_counts()
    control = possible[possible.groupby("label").cumcount() < possible["label"].map(wanted).fillna(0)]
    with_artefact = flags.loc[flags.drop(columns="image_id").max(axis=1) > 0, "image_id"]
    chosen = {
        FLAGGED: flagged,
        CONTROL: control["image_id"].tolist(),
        ARTEFACTS: photos_for_both(sorted(with_artefact), trial, maskable),
    }
    return [arm for name, images in chosen.items() for arm in twin_arms(name, trial, masked_IF, images)]


def judged(
    config: AuditConfig, network: Network, trial: EncodedTrial, flags: pd.DataFrame
) -> dict[str, float]:
    """Test AUC (mean of classes against the rest), and the mean robust AUROC of the artefacts for the class
    that each goes with in training, over validation and test visits, where they do not go with it."""
    test = network.predict(trial, "test")[0].merge(trial.visits("test"), on="visit_id")
    columns = [name for name in test if name.startswith("probability_")]
    auc = one_versus_rest_auc(test["label"].to_numpy(np.int64), test[columns].to_numpy()).value
    both = pd.concat([network.predict(trial, split)[0] for split in ("validation", "test")])
    visits = trial.manifest.drop_duplicates("visit_id")[["visit_id", "patient_id", "split", "label"]]
    of_visit = trial.manifest[["image_id", "visit_id"]].merge(flags, on="image_id").drop(columns="image_id")
    facts = visits.merge(of_visit.groupby("visit_id").max().reset_index(), on="visit_id")
    named = facts[[name for name in flags if name != "image_id"]].rename(columns=artefact_name)
    labels_V, train_V = facts["label"].to_numpy(np.int64), (facts["split"] == "train").to_numpy()
    found = annotated(named, labels_V, train_V, len(config.model.class_names))
    scored = facts.merge(both, on="visit_id", how="left")[columns].to_numpy(np.float64)
    held_out = {name: replace(one, present_V=one.present_V[~train_V]) for name, one in found.items()}
    table = artefact_table(
        labels_V[~train_V], scored[~train_V], held_out, facts.loc[~train_V, "patient_id"].to_numpy(),
        config.model.class_names, smallest_cell=config.specificity.smallest_cell, confidence=0.95,
    )  # fmt: skip
    return {"auc": auc, "robust": float(table.loc[table["linked"], "robust"].mean())}


def one_trial(config: AuditConfig, seed: int) -> list[dict[str, object]]:
    """All arms and training seeds of one trial."""
    run = prepared(config)
    together = encoded(config, run)
    trial = together[0]
    flags = annotated_artefacts(config, run).fillna(0)
    rows: list[dict[str, object]] = []
    for training_seed in TRAINING_SEEDS:
        baseline = train_network(trial, config.model, config.train, seed=training_seed)
        networks = {"baseline": (0.0, baseline)}
        for arm in arms_of(config, baseline, together, flags, 100 * seed + training_seed):
            network = train_network(arm.trial, config.model, config.train, seed=training_seed)
            networks[arm.name] = (arm.share, network)
        for name, (share, network) in networks.items():
            row = {"trial": seed, "seed": training_seed, "arm": name, "share": share}
            rows.append(row | judged(config, network, trial, flags))
    return rows


def differences(table: pd.DataFrame) -> pd.DataFrame:
    """Over trials, each the mean of its training seeds: twins against the baseline and against each other."""
    means = table.groupby(["trial", "arm"])[list(MEASURES)].mean()
    rows = []
    for name in (FLAGGED, CONTROL, ARTEFACTS):
        removed, masked = f"{name}, {REMOVED}", f"{name}, {MASKED}"
        for arm, against in ((removed, "baseline"), (masked, "baseline"), (masked, removed)):
            for measure in MEASURES:
                of_arm, of_other = (means.xs(one, level="arm")[measure] for one in (arm, against))
                gain_T = (of_arm - of_other).to_numpy()
                low, high = t_interval(gain_T, 0.95)
                row = {"arm": arm, "against": against, "measure": measure, "value": of_arm.mean()}
                row |= {"gain": gain_T.mean(), "low": low, "high": high, "p": sign_flip_p(gain_T)}
                rows.append({**row, "won": int((gain_T > 0).sum()), "trials": len(gain_T)})
    return pd.DataFrame(rows)


def main(home: Path, weights: str, first_seed: int, last_seed: int) -> None:
    """All trials, one after the other; the table is written after each."""
    torch.set_num_threads(1)
    rows: list[dict[str, object]] = []
    for seed in range(first_seed, last_seed + 1):
        rows += one_trial(config_of(home, weights, seed), seed)
        table = pd.DataFrame(rows)
        table.to_csv(home / "arms.csv", index=False)
        print(f"trial {seed} done", flush=True)
    print(table.groupby("arm")[["share", *MEASURES]].mean().round(3).to_string())
    print(differences(table).round(3).to_string())


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))

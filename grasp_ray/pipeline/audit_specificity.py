"""Step: does the trained model read an annotated artefact, and would location labels have helped?

runs/<name>/audits/specificity/artefacts.parquet      overall, aligned, robust, worst-group AUROC per artefact
                               supervisions.parquet   the same for location models, mean over seeds
                               per_seed.parquet       and for each seed
                               granularity.parquet    V and MI of the trial for visit, box and mask
                               <supervision>_seed=…/  location models' predictions and losses
"""

from dataclasses import replace

import numpy as np
import pandas as pd

from grasp_ray.audits.artefact_auroc import annotated, artefact_table
from grasp_ray.audits.granularity import granularity
from grasp_ray.audits.masking_table import probability_columns
from grasp_ray.audits.supervision_table import over_seeds
from grasp_ray.config import AuditConfig
from grasp_ray.on_ray.audits import LocationTrainings, train_location_models
from grasp_ray.on_ray.predict import PREDICTIONS
from grasp_ray.on_ray.workers import cpu_workers
from grasp_ray.pipeline.audited_run import (
    AUDITS,
    annotated_artefacts,
    artefact_name,
    audit_identity,
    audited_arm,
    visit_facts,
)
from grasp_ray.pipeline.run_folder import RunFolder
from grasp_ray.pipeline.verdict import publish_verdict
from grasp_ray.storage import Storage
from grasp_ray.training.location_arm import load_located_images
from grasp_ray.training.location_settings import Supervision
from grasp_ray.trial.photo_store import PhotoStore, read_photo_index

SPECIFICITY = f"{AUDITS}/specificity"
GRANULARITY_IMAGES = 300
"""Training images with masks behind V and MI, the first by id."""
SUPERVISIONS: tuple[Supervision, ...] = ("visit", "box", "mask")


def audit_specificity(config: AuditConfig) -> None:
    """Write audits/specificity/…, then bring the verdict page up to date."""
    run = RunFolder.of(config)
    settings = {
        "specificity": config.specificity.model_dump(mode="json"),
        "location": config.location.model_dump(mode="json"),
    }
    with run.step("audit_specificity", audit_identity(config, run, settings)) as must_run:
        if must_run:
            _audit(config, run)
    publish_verdict(config, run)


def _audit(config: AuditConfig, run: RunFolder) -> None:
    flags = _flags_of_visits(config, run)
    predictions = run.table(f"{audited_arm(config)}/{PREDICTIONS}", made_by="train")
    table = _artefact_table(config, run, flags, predictions)
    run.storage.write_table(f"{SPECIFICITY}/artefacts.parquet", table)
    run.storage.write_table(f"{SPECIFICITY}/granularity.parquet", _granularity(config, run))
    if not config.specificity.supervisions:
        return
    predicted = _location_predictions(config, run)
    tables = []
    for key, part in predicted.groupby(["supervision", "seed"], sort=False):
        table = _artefact_table(config, run, flags, part)
        tables.append(table.assign(supervision=str(key[0]), seed=int(str(key[1]))))
    per_seed = pd.concat(tables, ignore_index=True)
    run.storage.write_table(f"{SPECIFICITY}/per_seed.parquet", per_seed)
    means = over_seeds(per_seed, confidence=config.evaluate.confidence)
    run.storage.write_table(f"{SPECIFICITY}/supervisions.parquet", means)


def _flags_of_visits(config: AuditConfig, run: RunFolder) -> pd.DataFrame:
    """visit_id and a 0/1 column per annotated artefact: whether any image of the visit has it."""
    visit_of = run.manifest()[["image_id", "visit_id"]]
    flags = annotated_artefacts(config, run).merge(visit_of, on="image_id").drop(columns="image_id")
    return flags.groupby("visit_id").max().fillna(0).astype("int64").reset_index()


def _artefact_table(
    config: AuditConfig, run: RunFolder, flags: pd.DataFrame, predictions: pd.DataFrame
) -> pd.DataFrame:
    """The model's AUROCs over the held-out visits of `specificity.splits`."""
    facts = visit_facts(run).merge(flags, on="visit_id").reset_index(drop=True)
    names = [name for name in flags.columns if name != "visit_id" and facts[name].any()]
    labels_V = facts["label"].to_numpy(dtype=np.int64)
    classes = len(config.model.class_names)
    training_V = (facts["split"] == "train").to_numpy()
    named = facts[names].rename(columns=artefact_name)
    found = annotated(named, labels_V, training_V, classes)
    judged = facts.merge(predictions, on="visit_id", how="left")
    held_out_V = judged["split"].isin(list(config.specificity.splits)).to_numpy()
    return artefact_table(
        labels_V[held_out_V],
        judged.loc[held_out_V, probability_columns(predictions)].to_numpy(dtype=np.float64),
        {name: replace(one, present_V=one.present_V[held_out_V]) for name, one in found.items()},
        facts.loc[held_out_V, "patient_id"].to_numpy(),
        config.model.class_names,
        smallest_cell=config.specificity.smallest_cell,
        confidence=config.evaluate.confidence,
    )


def _location_predictions(config: AuditConfig, run: RunFolder) -> pd.DataFrame:
    manifest = run.manifest()
    trainings = LocationTrainings(
        run=run.storage,
        trial=Storage.at(config.trial.uri),
        training=manifest[manifest["split"] == "train"],
        held_out=manifest[manifest["split"].isin(list(config.specificity.splits))],
        model=config.model,
        location=config.location,
        image_side_px=config.trial.image_side_px,
        output=run.storage.child(SPECIFICITY),
    )
    seeds = [config.location.seed + repeat for repeat in range(config.specificity.repeats)]
    workers = cpu_workers(config.cluster)
    return train_location_models(trainings, config.specificity.supervisions, seeds, workers=workers)


def _granularity(config: AuditConfig, run: RunFolder) -> pd.DataFrame:
    """supervision, variance, mutual_information, p, q, area_share, images: on training images with a mask."""
    manifest = run.manifest()
    rows = manifest[(manifest["split"] == "train") & manifest["mask_path"].notna()].head(GRANULARITY_IMAGES)
    nothing = pd.DataFrame(columns=["supervision", "variance", "mutual_information", "images"])
    if rows.empty:
        return nothing
    images = load_located_images(
        Storage.at(config.trial.uri), rows, PhotoStore(run.storage), read_photo_index(run.storage)
    )
    flags = annotated_artefacts(config, run).set_index("image_id").loc[images.image_ids]
    artefact_n: np.ndarray = np.asarray(flags.fillna(0).to_numpy(dtype=bool).any(axis=1))
    keep_n = images.has_mask_n
    if not keep_n.any():
        return nothing
    found = []
    for supervision in SUPERVISIONS:
        measured = granularity(
            images.photos_nSS3[keep_n], images.masks_nSS[keep_n], artefact_n[keep_n], supervision
        )
        found.append({"supervision": supervision, **vars(measured), "images": int(keep_n.sum())})
    return pd.DataFrame(found)

"""What the three shortcut audits share: the audited model, its held-out visits, and where results go."""

from collections.abc import Mapping, Sequence

import pandas as pd

from grasp_ray.config import AuditConfig
from grasp_ray.errors import StorageError, TrialError
from grasp_ray.on_ray.audits import AuditedVisits
from grasp_ray.pipeline.arms import baseline_arms
from grasp_ray.pipeline.run_folder import RunFolder
from grasp_ray.pipeline.truth import IMAGES as TRUTH_IMAGES
from grasp_ray.storage import Storage
from grasp_ray.training.trained_model import RECORD
from grasp_ray.trial.manifest import manifest_sha256
from grasp_ray.trial.schema import ARTEFACT_PREFIX

AUDITS = "audits"


def audited_arm(config: AuditConfig) -> str:
    """Folder of the audited model: the first seed's baseline."""
    return baseline_arms(config)[0].folder


def require_trained(config: AuditConfig) -> None:
    """Raise `StorageError` that names the job to run first when the run has no trained baseline."""
    run = RunFolder.of(config)
    if not run.storage.child(audited_arm(config)).exists(RECORD):
        raise StorageError(
            f"{run.storage.uri(audited_arm(config))} holds no trained model: run jobs/train.py with the same "
            "config first."
        )


def audited_visits(
    config: AuditConfig, run: RunFolder, splits: Sequence[str], visits_per_shard: int
) -> AuditedVisits:
    """The visits of the given splits; `TrialError` when none of their images has a mask in the tables."""
    manifest = run.manifest()
    rows = manifest[manifest["split"].isin(list(splits))]
    if rows["mask_path"].isna().all():
        raise TrialError(
            f"no image of {' and '.join(splits)} has a lesion mask (mask_path in the images table), and this "
            "audit compares the lesion with the rest of the photo. What jobs/audit_specificity.py says of "
            "annotated artefacts needs no masks."
        )
    return AuditedVisits(run.storage, Storage.at(config.trial.uri), rows, visits_per_shard)


def audit_identity(config: AuditConfig, run: RunFolder, settings: Mapping[str, object]) -> dict[str, object]:
    """What an audit's results depend on: its settings, the manifest and the audited arm."""
    return {**settings, "manifest_sha256": manifest_sha256(run.manifest()), "arm": audited_arm(config)}


def visit_facts(run: RunFolder) -> pd.DataFrame:
    """One row per visit of the manifest, without what belongs to its images."""
    visits = run.manifest().drop_duplicates("visit_id").reset_index(drop=True)
    return visits.drop(columns=[name for name in visits.columns if name.startswith(ARTEFACT_PREFIX)])


def annotated_artefacts(config: AuditConfig, run: RunFolder) -> pd.DataFrame:
    """image_id and a 0/1 column artefact_<name> per annotated artefact: the manifest's flags, or, in a
    simulated trial, what was planted. No column but image_id when nothing is annotated."""
    manifest = run.manifest()
    flags = [str(name) for name in manifest.columns if str(name).startswith(ARTEFACT_PREFIX)]
    found = manifest[["image_id", *flags]]
    trial = Storage.at(config.trial.uri)
    if flags or not trial.exists(TRUTH_IMAGES):
        return found
    truth = trial.read_table(TRUTH_IMAGES)[["image_id", "artefact"]]
    for name in sorted(set(truth["artefact"]) - {""}):
        truth[f"{ARTEFACT_PREFIX}{name}"] = (truth["artefact"] == name).astype("int64")
    return found.merge(truth.drop(columns="artefact"), on="image_id", how="left")


def artefact_name(column: str) -> str:
    """`artefact_dark_corner` → `dark corner`."""
    return column.removeprefix(ARTEFACT_PREFIX).replace("_", " ")

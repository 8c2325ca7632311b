"""The first look at a trial: the standing audit's own visits, measured once, that re-audits compare with.

runs/<standing>/baseline/…   as `service_state` says
"""

import logging

import numpy as np
import pandas as pd

from grasp_ray.config import AuditConfig
from grasp_ray.monitoring.arrivals import TrialState, trial_state
from grasp_ray.monitoring.embedding_axes import EMBEDDING_STATISTICS
from grasp_ray.monitoring.service_metrics import service_metrics
from grasp_ray.on_ray.photo_statistics import measure_photos
from grasp_ray.on_ray.workers import cpu_workers
from grasp_ray.pipeline.model_source import ModelReference, ModelSource
from grasp_ray.pipeline.reaudit_findings import flagged_now, reader_rows
from grasp_ray.pipeline.reaudit_influence import STORE
from grasp_ray.pipeline.run_folder import INFLUENCE, QUERIES, RunFolder
from grasp_ray.pipeline.service_state import BASELINE, FLAGGED, METRICS, READERS, VISITS, Look, write_look
from grasp_ray.pipeline.visit_rows import visit_rows, with_scores
from grasp_ray.storage import Storage
from grasp_ray.trial.photo_store import read_photo_index
from grasp_ray.trial.splits import visit_labels
from grasp_ray.trial.tables import TrialTables

log = logging.getLogger(__name__)


def make_baseline(
    config: AuditConfig, source: ModelSource, reference: ModelReference, tables: TrialTables
) -> Look:
    """Measure the standing audit's photos and write its look; once per standing run."""
    run = source.run
    log.info("re-audit: the first of %s, whose photos are measured once", config.reaudit.standing)
    folder = run.storage.child(BASELINE)
    manifest = run.manifest()
    statistics = measure_photos(run.storage, folder, manifest, cpu_workers(config.cluster))
    rows = visit_rows(
        config,
        manifest,
        reference,
        reference.predictions,
        reference.embeddings,
        statistics,
        source.class_names,
    )
    trained_on = rows["split"] == "train"
    # A model's embeddings of its own training visits are not those of other visits: no reference for drift.
    rows.loc[trained_on, ["novelty", *EMBEDDING_STATISTICS]] = np.nan
    known = _known_scores(tables.visits, manifest)
    visits = with_scores(rows, known).assign(arrived=0, seen_reader1=0, seen_reader2=0)
    influence, queries = _traced(run)
    visits = visits.merge(
        influence.groupby("visit_id")["self_influence"].max().reset_index(), on="visit_id", how="left"
    )
    folder.write_table(VISITS, visits)
    folder.write_table(INFLUENCE, influence)
    folder.write_table(QUERIES, queries)
    folder.write_table(FLAGGED, flagged_now(config, influence))
    folder.write_table(METRICS, service_metrics(visits, 0, config.evaluate))
    folder.write_table(READERS, reader_rows(visits, 0, config.reaudit.standing, len(source.class_names)))
    record = {
        "number": 0, "name": config.reaudit.standing, "previous": "", "standing": config.reaudit.standing,
        "trial": Storage.at(config.trial.uri).root, "indexed": True, "summary": "the standing audit",
    }  # fmt: skip
    state = _standing_state(run, manifest, known)
    return write_look(folder, state, pd.Series(dtype="str"), record)


def _known_scores(visits: pd.DataFrame, manifest: pd.DataFrame) -> pd.DataFrame:
    """The audited visits with the facts of the manifest and the scores that the audit knew.

    The manifest holds classes only. A PASI of today that gives the manifest's class counts as the one of
    then; where it does not, the class alone is known.
    """
    audited = manifest.drop_duplicates("visit_id").reset_index(drop=True)
    now = visits.set_index("visit_id").reindex(audited["visit_id"]).reset_index()
    known = audited[["visit_id", "patient_id", "week", "skin_type", "sex", "device", "site"]].copy()
    for number, column in ((1, "label"), (2, "label_reader2")):
        label = audited[column].astype("Int64")
        same = (visit_labels(now, reader=number) == label).fillna(False).to_numpy(dtype=bool)
        given_class = f"class_reader{number}" in now
        pasi = f"pasi_reader{number}"
        if pasi in now:
            known[pasi] = now[pasi].where(same)
        # Where the PASI says the class already, a class beside it would hide the score.
        has_score = known[pasi].notna() if pasi in known else pd.Series(False, index=known.index)
        covered = has_score & (not given_class)
        known[f"class_reader{number}"] = label.mask(covered)
    return known


def _standing_state(run: RunFolder, manifest: pd.DataFrame, known: pd.DataFrame) -> TrialState:
    index = read_photo_index(run.storage)[["image_id", "sha256"]]
    photos = manifest[["image_id", "visit_id"]].merge(index, on="image_id", how="left", validate="1:1")
    return trial_state(known, photos.fillna({"sha256": ""}))


def _traced(run: RunFolder) -> tuple[pd.DataFrame, pd.DataFrame]:
    influence = run.table(INFLUENCE, made_by="score")
    queries = run.table(QUERIES, made_by="score").assign(**{STORE: run.storage.root})
    return influence, queries

"""Steps: build a run's review queue and its page, and take decisions back into the ledger."""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime

import pandas as pd

from grasp_ray.config import AuditConfig
from grasp_ray.errors import ConfigError, TrialError
from grasp_ray.pipeline.arms import baseline_arms
from grasp_ray.pipeline.run_folder import (
    DECISIONS,
    INFLUENCE,
    QUARANTINE,
    QUERIES,
    REVIEW_PAGE,
    REVIEW_QUEUE,
    REVIEW_SHOWN,
    RunFolder,
)
from grasp_ray.report.gallery import jpeg_uri
from grasp_ray.report.review_page import ReviewInputs, render_review_page
from grasp_ray.review.content import readings, visit_contents
from grasp_ray.review.decisions import DECISION_COLUMNS, decision_problems, decisions_of, recorded
from grasp_ray.review.ledger import append, read_ledger
from grasp_ray.review.queue import PRIORITY_RULE, QueueInputs, queue_sha256, review_queue
from grasp_ray.review.spreadsheet import read_csv, write_csv
from grasp_ray.storage import Storage
from grasp_ray.training.arm import DYNAMICS
from grasp_ray.trial.manifest import manifest_sha256
from grasp_ray.trial.photo_store import PhotoFiles, read_photo_index
from grasp_ray.trial.photos import decode_for_display
from grasp_ray.trial.problems import raise_if_any
from grasp_ray.trial.tables import TrialTables, read_trial

log = logging.getLogger(__name__)


def review(config: AuditConfig) -> None:
    """Write review/queue.csv, queue.parquet, shown.parquet (the content that was shown) and index.html.

    The same run and trial give the same files. Visits whose photos changed since the run are left out.
    """
    run, trial = RunFolder.of(config), Storage.at(config.trial.uri)
    tables = read_trial(trial)
    queue, shown = _queue(config, run, trial, tables)
    inputs = ReviewInputs(
        run_name=config.run.name,
        queue=queue,
        queue_sha256=queue_sha256(queue, shown),
        priority_rule=PRIORITY_RULE,
        manifest=run.manifest(),
        class_names=config.model.class_names,
        by_pasi="pasi_reader1" in tables.visits,
        pictures=_pictures(config, run, trial, tables, queue) if config.report.thumbnails else {},
    )
    run.storage.write_table(REVIEW_SHOWN, shown)
    run.storage.write_table(REVIEW_QUEUE, queue)
    run.storage.write_bytes(REVIEW_QUEUE.replace(".parquet", ".csv"), write_csv(queue))
    run.storage.write_bytes(REVIEW_PAGE, render_review_page(inputs).encode())
    visits = queue["visit_id"].nunique()
    log.info("review: %d visits for %d reasons → %s", visits, len(queue), run.storage.uri(REVIEW_PAGE))


def _queue(
    config: AuditConfig, run: RunFolder, trial: Storage, tables: TrialTables
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The queue, and the content of its visits in the trial now."""
    chosen_k = int(run.result("chosen", made_by="evaluate")["k"])
    gathered = {
        "manifest": run.manifest(),
        # no k was better than the baseline: the shortest list holds what each query names first
        "removal": run.table(run.removal_name(chosen_k or min(config.prune.ks)), made_by="prune"),
        "queries": run.table(QUERIES, made_by="score"),
        "dynamics": run.table(f"{baseline_arms(config)[0].folder}/{DYNAMICS}", made_by="train"),
        "influence": run.table(INFLUENCE, made_by="score"),
    }
    known = readings(tables)
    while True:
        inputs = QueueInputs(**gathered, readings=known, class_names=config.model.class_names)
        queue = review_queue(inputs, config.review)
        shown = visit_contents(trial, tables, set(queue["visit_id"]))
        changed = _changed_since(run, shown)
        if not changed:
            return queue, shown
        log.warning("review: changed since the run and left out: %s", ", ".join(sorted(changed)))
        known = known[~known["visit_id"].isin(changed)]


def _changed_since(run: RunFolder, shown: pd.DataFrame) -> set[str]:
    """Visits with photos that are not the ones in the run's photo store, or that came or went since."""
    manifest = run.manifest()
    rows = manifest.loc[manifest["visit_id"].isin(shown["visit_id"]), ["visit_id", "image_id"]]
    before = rows.merge(read_photo_index(run.storage)[["image_id", "sha256"]], on="image_id")
    both = before.merge(shown, on=["visit_id", "image_id"], how="outer", suffixes=("_before", ""))
    both = both[~both["image_id"].isin(_left_out(run))]
    return set(both.loc[both["sha256_before"].fillna("") != both["sha256"].fillna(""), "visit_id"])


def _left_out(run: RunFolder) -> set[str]:
    """Photos that the trial had but the run's manifest does without."""
    out = set(run.table(QUARANTINE, made_by="train")["id"])
    if run.storage.exists(DECISIONS):
        for listed in run.storage.read_table(DECISIONS)["left_out"]:
            out |= set(listed.split(","))
    return out


def _pictures(
    config: AuditConfig, run: RunFolder, trial: Storage, tables: TrialTables, queue: pd.DataFrame
) -> Mapping[str, str]:
    """The queued visits' photos as data: URIs, upright, without any metadata."""
    manifest = run.manifest()
    wanted = manifest.loc[manifest["visit_id"].isin(queue["visit_id"]), "image_id"]
    images = tables.images[tables.images["image_id"].isin(wanted)].reindex(columns=["image_id", "path"])
    files, side_px = PhotoFiles(trial, images), config.review.photo_side_px
    settings = config.report.model_copy(update={"thumbnail_side_px": side_px})
    return {
        image_id: jpeg_uri(
            decode_for_display(files.read(image_id, path), side_px, config.trial.max_image_megapixels),
            settings,
        )
        for image_id, path in zip(images["image_id"], images["path"], strict=True)
    }


def decide(config: AuditConfig, decisions_csv: str) -> None:
    """Check a file of decisions whole and add what is new in it to the ledger `trial.decisions`.

    Raises `TrialError` that lists every problem by row; then nothing is recorded.
    """
    if config.trial.decisions is None:
        raise ConfigError("trial.decisions is missing: name the folder of the trial's ledger of decisions.")
    run, trial = RunFolder.of(config), Storage.at(config.trial.uri)
    queue, shown = (run.table(name, made_by="review") for name in (REVIEW_QUEUE, REVIEW_SHOWN))
    rows = _read_rows(decisions_csv)
    storage = Storage.at(config.trial.decisions)
    ledger = read_ledger(storage)
    if run.storage.exists(DECISIONS):
        noted = run.result("decisions", made_by="train")
        if noted["ledger"] == storage.root:
            ledger.require(noted["heads"], noted_in=f"run {config.run.name}")
    known = recorded(rows, ledger)
    rows = rows[~known]
    if rows.empty:
        log.info("decisions: all %d are in the ledger already; nothing was added", len(known))
        return
    tables, now = read_trial(trial), datetime.now(UTC)
    today = visit_contents(trial, tables, set(shown["visit_id"]) & set(rows["visit_id"]))
    by_pasi = "pasi_reader1" in tables.visits
    problems = decision_problems(rows, shown, today, now=now, by_pasi=by_pasi)
    raise_if_any(problems, of=f"nothing was recorded, since {decisions_csv} has")
    source = {
        "run": run.storage.root,
        "queue_sha256": queue_sha256(queue, shown),
        "manifest_sha256": manifest_sha256(run.manifest()),
    }
    moment = now.isoformat(timespec="seconds")
    batch = append(storage, decisions_of(rows, today), source=source, recorded_at=moment)
    log.info("decisions: %d recorded, %d known before → %s", len(rows), known.sum(), storage.uri(batch.name))
    log.info("they take effect in the next run: another run.name, and trial.decisions=%s", storage.root)


def _read_rows(decisions_csv: str) -> pd.DataFrame:
    folder, _, name = Storage.at(decisions_csv).root.rpartition("/")
    rows = read_csv(Storage(folder).read_bytes(name), DECISION_COLUMNS, name=name)
    if rows.empty:
        raise TrialError(f"{decisions_csv} holds no decision.")
    return rows

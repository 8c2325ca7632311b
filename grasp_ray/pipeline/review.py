"""Step: build the review queue of an audit or a re-audit, and its page."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from grasp_ray.audits.gradcam import gradcam_overlays
from grasp_ray.config import AuditConfig
from grasp_ray.evaluation.arm_names import SUSPECTS
from grasp_ray.pipeline.arms import baseline_arms
from grasp_ray.pipeline.run_folder import (
    DECISIONS,
    INFLUENCE,
    MANIFEST,
    QUARANTINE,
    QUERIES,
    REVIEW_PAGE,
    REVIEW_QUEUE,
    REVIEW_SHOWN,
    RunFolder,
)
from grasp_ray.pipeline.service_state import ALARMS, FLAGGED, STATE, VISITS, Look, looks
from grasp_ray.report.gallery import jpeg_uri
from grasp_ray.report.review_page import ReviewInputs, render_review_page
from grasp_ray.review.arrivals_queue import ArrivalInputs, arrivals_queue
from grasp_ray.review.content import readings, visit_contents
from grasp_ray.review.queue import PRIORITY_RULE, QueueInputs, queue_sha256, review_queue
from grasp_ray.review.spreadsheet import write_csv
from grasp_ray.storage import Storage
from grasp_ray.training.arm import DYNAMICS
from grasp_ray.training.trained_model import load_trained_model
from grasp_ray.trial.photo_store import PhotoFiles, PhotoStore, read_photo_index
from grasp_ray.trial.photos import decode_for_display
from grasp_ray.trial.tables import TrialTables, read_trial

log = logging.getLogger(__name__)


def review(config: AuditConfig) -> None:
    """Write review/queue.csv, queue.parquet, shown.parquet (the content that was shown) and index.html.

    The same run and trial give the same files. Visits whose photos changed since the run are left out.
    """
    run, trial = RunFolder.of(config), Storage.at(config.trial.uri)
    tables = read_trial(trial)
    reviewed = reviewed_run(config, run)
    queue, shown = _queue(config, reviewed, trial, tables)
    with_photos = config.report.thumbnails
    inputs = ReviewInputs(
        run_name=config.run.name,
        queue=queue,
        queue_sha256=queue_sha256(queue, shown),
        priority_rule=PRIORITY_RULE,
        manifest=reviewed.manifest,
        class_names=config.model.class_names,
        by_pasi="pasi_reader1" in tables.visits,
        pictures=_pictures(config, reviewed.manifest, trial, tables, queue) if with_photos else {},
        overlays=_overlays(config, reviewed, queue) if with_photos and config.review.gradcam else {},
    )
    run.storage.write_table(REVIEW_SHOWN, shown)
    run.storage.write_table(REVIEW_QUEUE, queue)
    run.storage.write_bytes(REVIEW_QUEUE.replace(".parquet", ".csv"), write_csv(queue))
    run.storage.write_bytes(REVIEW_PAGE, render_review_page(inputs).encode())
    visits = queue["visit_id"].nunique()
    log.info("review: %d visits for %d reasons → %s", visits, len(queue), run.storage.uri(REVIEW_PAGE))


@dataclass(frozen=True)
class Reviewed:
    """What the queue is made of: a run, or a re-audit with the looks before it."""

    folders: tuple[RunFolder, ...]
    """With the photos' manifests and stores; a photo is as the last of them has it."""
    queue_of: Callable[[pd.DataFrame], pd.DataFrame]
    """From the readings of the visits that may be shown."""

    @cached_property
    def manifest(self) -> pd.DataFrame:
        """Rows of all photos, by visit as the last folder has it."""
        return self._latest([folder.manifest() for folder in self.folders])

    @cached_property
    def photo_sha256(self) -> pd.DataFrame:
        """image_id, visit_id and sha256 of the manifest's photos."""
        stores = [
            folder.manifest()[["visit_id", "image_id"]].merge(
                read_photo_index(folder.storage)[["image_id", "sha256"]], on="image_id"
            )
            for folder in self.folders
        ]
        return self._latest(stores)

    @cached_property
    def left_out(self) -> set[str]:
        """Photos that the trial had but the manifests do without."""
        out: set[str] = set()
        for folder in self.folders:
            out |= set(folder.table(QUARANTINE, made_by="train")["id"])
            if folder.storage.exists(DECISIONS):
                for listed in folder.storage.read_table(DECISIONS)["left_out"]:
                    out |= set(listed.split(","))
        return out

    @staticmethod
    def _latest(frames: list[pd.DataFrame]) -> pd.DataFrame:
        """All rows, but those of visits that a later frame has too."""
        kept = frames[-1:]
        for frame in reversed(frames[:-1]):
            later = set().union(*(one["visit_id"] for one in kept))
            kept.append(frame[~frame["visit_id"].isin(later)])
        return pd.concat(kept, ignore_index=True)


def reviewed_run(config: AuditConfig, run: RunFolder) -> Reviewed:
    """What is reviewed in the run's folder: an audit or a re-audit."""
    return _reaudit(config, run) if run.storage.exists(STATE) else _audit(config, run)


def _audit(config: AuditConfig, run: RunFolder) -> Reviewed:
    chosen = run.result("chosen", made_by="evaluate")
    chosen_k = 0 if chosen.get("arm") == SUSPECTS else int(chosen["k"])
    gathered = {
        "manifest": run.manifest(),
        # no k was the best: the shortest list holds what each query names first
        "removal": run.table(run.removal_name(chosen_k or min(config.prune.ks)), made_by="prune"),
        "queries": run.table(QUERIES, made_by="score"),
        "dynamics": run.table(f"{baseline_arms(config)[0].folder}/{DYNAMICS}", made_by="train"),
        "influence": run.table(INFLUENCE, made_by="score"),
    }

    def queue_of(known: pd.DataFrame) -> pd.DataFrame:
        inputs = QueueInputs(**gathered, readings=known, class_names=config.model.class_names)
        return review_queue(inputs, config.review)

    return Reviewed((run,), queue_of)


def _reaudit(config: AuditConfig, run: RunFolder) -> Reviewed:
    look = Look.at(run.storage)
    standing = RunFolder(Storage.at(config.run.root).child(str(look.record["standing"])))
    earlier = [one for one in looks(standing.storage)[1:] if one.number < look.number]
    folders = [RunFolder(one.folder) for one in (*earlier, look) if one.folder.exists(MANIFEST)]
    queries = look.table(QUERIES)

    def queue_of(known: pd.DataFrame) -> pd.DataFrame:
        inputs = ArrivalInputs(
            visits=look.table(VISITS).merge(known, on="visit_id", validate="1:1"),
            number=look.number,
            flagged=look.table(FLAGGED),
            alarms=look.table(ALARMS),
            queries=len(queries),
            class_names=config.model.class_names,
        )
        return arrivals_queue(inputs, config.review)

    return Reviewed((standing, *folders), queue_of)


def _queue(
    config: AuditConfig, reviewed: Reviewed, trial: Storage, tables: TrialTables
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The queue, and the content of its visits in the trial now."""
    known = readings(tables)
    while True:
        queue = reviewed.queue_of(known)
        shown = visit_contents(trial, tables, set(queue["visit_id"]))
        changed = _changed_since(reviewed, shown)
        if not changed:
            return queue, shown
        log.warning("review: changed since the run and left out: %s", ", ".join(sorted(changed)))
        known = known[~known["visit_id"].isin(changed)]


def _changed_since(reviewed: Reviewed, shown: pd.DataFrame) -> set[str]:
    """Visits with photos that are not the ones that were decoded, or that came or went since."""
    before = reviewed.photo_sha256
    before = before[before["visit_id"].isin(shown["visit_id"])]
    both = before.merge(shown, on=["visit_id", "image_id"], how="outer", suffixes=("_before", ""))
    both = both[~both["image_id"].isin(reviewed.left_out)]
    return set(both.loc[both["sha256_before"].fillna("") != both["sha256"].fillna(""), "visit_id"])


def _pictures(
    config: AuditConfig, manifest: pd.DataFrame, trial: Storage, tables: TrialTables, queue: pd.DataFrame
) -> Mapping[str, str]:
    """The queued visits' photos as data: URIs, upright, without any metadata."""
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


def _overlays(config: AuditConfig, reviewed: Reviewed, queue: pd.DataFrame) -> Mapping[str, str]:
    """Flagged photos under the baseline's Grad-CAM for reader 1's class, as data: URIs."""
    flagged = queue[queue["image_id"] != ""].drop_duplicates("image_id").set_index("image_id")["label"]
    model = load_trained_model(reviewed.folders[0].arm(baseline_arms(config)[0])).model
    found: dict[str, str] = {}
    for folder in reviewed.folders:
        rows = folder.manifest()
        rows = rows[rows["image_id"].isin(flagged.index)]
        if rows.empty:
            continue
        classes = flagged[rows["image_id"]].astype("int64").tolist()
        laid = gradcam_overlays(model, PhotoStore(folder.storage).read(rows), classes)
        uris = [jpeg_uri(overlay, config.report) for overlay in laid]
        found |= dict(zip(rows["image_id"].astype("str"), uris, strict=True))
    return found

"""Step: show the results on the screen, as the report page, and as an MLflow run."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from grasp_ray.config import AuditConfig
from grasp_ray.evaluation.arm_names import SUSPECTS
from grasp_ray.evaluation.choice import ChosenK
from grasp_ray.pipeline.arms import baseline_arms, pruned_arms
from grasp_ray.pipeline.run_folder import (
    ARMS_TABLE,
    COMPARISONS,
    CONFUSION,
    DISAGREEMENT,
    FLAGGER_QUALITY,
    INFLUENCE,
    MANIFEST,
    QUERIES,
    REMOVAL_SUMMARY,
    REPORT,
    RUN_RECORD,
    ArmName,
    RunFolder,
)
from grasp_ray.pipeline.truth import read_truth
from grasp_ray.report.inputs import ReportInputs, pictured_image_ids
from grasp_ray.report.page import render_page
from grasp_ray.report.table_text import comparison_csv, comparison_latex, comparison_text
from grasp_ray.report.tables import comparison_table
from grasp_ray.storage import Storage
from grasp_ray.tracking.mlflow_log import AuditLog, opening_command
from grasp_ray.training.arm import HISTORY
from grasp_ray.training.trained_model import load_trained_model
from grasp_ray.trial.manifest import manifest_sha256
from grasp_ray.trial.photo_store import PhotoStore

log = logging.getLogger(__name__)


def publish(config: AuditConfig, run: RunFolder, chosen: ChosenK) -> None:
    """Write report/ and log the run to MLflow; then show the comparison table and where to look."""
    inputs = report_inputs(config, run, chosen)
    table = comparison_table(inputs.arms, inputs.comparisons, inputs.removal_summary)
    page = render_page(inputs)
    run.storage.write_bytes(REPORT, page.encode())
    run.storage.write_bytes("report/comparison.csv", comparison_csv(table).encode())
    which: Any = {"chosen_k": chosen.k, "chosen_arm": chosen.arm}
    run.storage.write_bytes("report/comparison.tex", comparison_latex(table, **which).encode())
    where = [f"report   {run.storage.uri(REPORT)}"]
    if config.track.enabled:
        address = _track(config, run, inputs, page, chosen)
        command = opening_command(config.track, config.run.root)
        where += [f"MLflow   {command}"] if command else []
        where += [f"         {address}"]
    text = comparison_text(table, **which, confidence=config.evaluate.confidence)
    log.info("\n\n%s\n\n%s\n\n%s\n", text, chosen.reason, "\n".join(where))


def report_inputs(config: AuditConfig, run: RunFolder, chosen: ChosenK) -> ReportInputs:
    """Gather the run's tables for the page."""
    removals = {k: run.table(run.removal_name(k), made_by="prune") for k in config.prune.ks}
    queries = run.table(QUERIES, made_by="score")
    names = (*baseline_arms(config), *pruned_arms(config))
    gathered: dict[str, Any] = {
        "arms": run.table(ARMS_TABLE, made_by="evaluate"),
        "comparisons": run.table(COMPARISONS, made_by="evaluate"),
        "removal_summary": run.table(REMOVAL_SUMMARY, made_by="prune"),
        "removals": removals,
        "class_names": config.model.class_names,
        "suspects": {
            percent: run.table(run.suspects_name(percent), made_by="prune")
            for percent in config.prune.suspect_percents
        },
        "chosen_k": chosen.k,
        "chosen_arm": chosen.arm,
        "chosen_reason": chosen.reason,
        "run": run.storage.read_json(RUN_RECORD),
        "queries": queries,
        "influence": run.table(INFLUENCE, made_by="score"),
        "disagreement": _optional(run, DISAGREEMENT),
        "flagger_quality": _optional(run, FLAGGER_QUALITY),
        "confusion": run.table(CONFUSION, made_by="evaluate"),
        "histories": {
            (name.arm, name.k, name.seed): run.table(f"{name.folder}/{HISTORY}", made_by="prune")
            for name in names
        },
        "truth": read_truth(config, run),
        "settings": config.report,
    }
    shown = ReportInputs(**gathered).shown_removals
    if config.report.thumbnails and shown is not None:
        ids = pictured_image_ids(shown, queries, config.report.gallery_images)
        gathered["thumbnails"] = _photos(run, ids)
    return ReportInputs(**gathered)


def _optional(run: RunFolder, name: str) -> pd.DataFrame | None:
    return run.storage.read_table(name) if run.storage.exists(name) else None


def _photos(run: RunFolder, image_ids: list[str]) -> dict[str, NDArray[np.uint8]]:
    manifest = run.manifest()
    rows = manifest[manifest["image_id"].isin(image_ids)]
    return dict(zip(rows["image_id"], PhotoStore(run.storage).read(rows), strict=True))


def _sources(run: RunFolder, best: ArmName, record: Mapping[str, Any]) -> dict[str, str]:
    """What made the chosen model: file → URI, and the hashes that freeze it."""
    sources = {
        "manifest": run.storage.uri(MANIFEST),
        "manifest_sha256": manifest_sha256(run.manifest()),
        "influence": run.storage.uri(INFLUENCE),
    }
    if best.k:
        suspects = best.arm == SUSPECTS
        name = run.suspects_name(best.k) if suspects else run.removal_name(best.k)
        sources["removals"] = run.storage.uri(name)
    decisions = record["results"].get("decisions")
    if decisions and decisions["head"]:
        sources |= {"ledger": decisions["ledger"], "ledger_head": decisions["head"]}
    return sources | {"report": run.storage.uri(REPORT)}


def _track(config: AuditConfig, run: RunFolder, inputs: ReportInputs, page: str, chosen: ChosenK) -> str:
    manifest = run.manifest()
    best = ArmName(chosen.arm, chosen.k, config.train.seed)
    trained = load_trained_model(run.arm(best))
    trial = Storage.at(config.trial.uri).root
    with AuditLog(config.track, inputs.run) as tracked:
        tracked.log_trial(manifest, uri=trial, manifest_sha256=manifest_sha256(manifest))
        tracked.log_results(inputs)
        tracked.log_report(page)
        registration = tracked.log_model(
            trained.model,
            arm=best.arm,
            k=best.k,
            seed=best.seed,
            image_side_px=config.trial.image_side_px,
            class_names=config.model.class_names,
            validation_auc=trained.record.validation_auc,
            sources=_sources(run, best, inputs.run),
        )
        if registration is not None:
            log.info("model: %s", registration.reason)
        return tracked.address

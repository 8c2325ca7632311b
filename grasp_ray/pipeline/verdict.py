"""Step: one page over whatever shortcut audits a run has, and the same in its MLflow run.

runs/<name>/audits/verdict.json    the findings
            report/audits.html     the page
"""

import logging
from dataclasses import asdict, dataclass

import pandas as pd

from grasp_ray.audits.flagged_images import flagged_effects
from grasp_ray.audits.saliency_table import randomisation_check
from grasp_ray.config import AuditConfig
from grasp_ray.on_ray.predict import PREDICTIONS
from grasp_ray.pipeline.audit_pictures import AuditPictures
from grasp_ray.pipeline.audited_run import AUDITS, annotated_artefacts, artefact_name, audited_arm
from grasp_ray.pipeline.flagged import flagged_image_ids
from grasp_ray.pipeline.run_folder import RUN_RECORD, RunFolder
from grasp_ray.report.audit_verdict import (
    Finding,
    Verdict,
    artefact_finding,
    influence_finding,
    judge,
    masking_finding,
    saliency_finding,
    supervision_finding,
)
from grasp_ray.report.audits_page import AuditsInputs, Shown, audit_figures, render_audits_page
from grasp_ray.tracking.mlflow_log import AuditLog
from grasp_ray.trial.schema import ARTEFACT_PREFIX

log = logging.getLogger(__name__)

VERDICT = f"{AUDITS}/verdict.json"
AUDITS_PAGE = "report/audits.html"
_TABLES = {
    "masking": "masking/table", "matrix": "masking/matrix", "baselines": "masking/baselines",
    "drift": "masking/drift", "masking_skipped": "masking/skipped", "views": "masking/views",
    "strata": "saliency/strata", "agreement": "saliency/agreement", "maps": "saliency/maps",
    "randomised": "saliency/randomised", "training_agreement": "saliency/training_agreement",
    "artefacts": "specificity/artefacts", "supervisions": "specificity/supervisions",
    "granularity": "specificity/granularity",
}  # fmt: skip
_SHOWN = ("masking", "matrix", "baselines", "strata", "artefacts", "supervisions", "granularity", "effects")
SUREST_SHOWN = 24
"""Surest visits among which the pictures of the views and of SHAP are chosen."""
_STEPS = ("audit_masking", "audit_saliency", "audit_specificity")


def publish_verdict(config: AuditConfig, run: RunFolder) -> Verdict:
    """Write audits/verdict.json and report/audits.html from the audits that were run, and log them."""
    tables = {
        name: run.storage.read_table(f"{AUDITS}/{file}.parquet")
        for name, file in _TABLES.items()
        if run.storage.exists(f"{AUDITS}/{file}.parquet")
    }
    effects = _effects(config, run, tables)
    if effects is not None:
        tables["effects"] = effects
        run.storage.write_table(f"{AUDITS}/flagged_effects.parquet", effects)
    verdict = judge(_Findings(config, run, tables).all())
    run.storage.write_json(VERDICT, asdict(verdict))
    seconds = {
        step: float(run.storage.read_json(f"steps/{step}.json")["seconds"])
        for step in _STEPS
        if run.storage.exists(f"steps/{step}.json")
    }
    inputs = AuditsInputs(
        run={"updated": "", **run.storage.read_json(RUN_RECORD)},
        verdict=verdict,
        tables={name: tables[name] for name in _SHOWN if name in tables},
        pictures=_pictures(config, run, tables) if config.report.thumbnails else {},
        seconds=seconds,
        class_names=config.model.class_names,
        confidence=config.evaluate.confidence,
        settings=config.report,
    )
    page = render_audits_page(inputs)
    run.storage.write_bytes(AUDITS_PAGE, page.encode())
    if config.track.enabled:
        _track(config, inputs, page)
    lines = [f"  {finding.audit:<12} {finding.sentence}" for finding in verdict.findings]
    log.info("\n\n%s\n\n%s\n\nverdict  %s\n", verdict.title, "\n".join(lines), run.storage.uri(AUDITS_PAGE))
    return verdict


@dataclass(frozen=True)
class _Findings:
    """The finding of every audit whose tables are there."""

    config: AuditConfig
    run: RunFolder
    tables: dict[str, pd.DataFrame]

    def all(self) -> list[Finding]:
        found = []
        if "artefacts" in self.tables:
            alpha = self.config.specificity.alpha
            found.append(artefact_finding(self.tables["artefacts"], alpha, self._carriers()))
        if "masking" in self.tables:
            skipped = len(self.tables["masking_skipped"])
            visit_ids = self._right_without_lesion()
            baselines = self.tables["baselines"]
            found.append(masking_finding(self.tables["masking"], baselines, skipped, visit_ids))
        if "strata" in self.tables:
            settings = self.config.saliency
            check = randomisation_check(
                self.tables["randomised"], self.tables["agreement"], settings.survives_at
            )
            lowest = self.tables["agreement"].nsmallest(settings.gallery_images, "lift")["image_id"]
            found.append(
                saliency_finding(self.tables["strata"], check, settings.survives_at, lowest.tolist())
            )
        if "supervisions" in self.tables:
            found.append(supervision_finding(self.tables["supervisions"]))
        if "effects" in self.tables:
            found.append(influence_finding(self.tables["effects"]))
        return found

    def _carriers(self) -> dict[str, list[str]]:
        """Held-out, misclassified visits with each artefact."""
        manifest = self.run.manifest()[["image_id", "visit_id", "split", "label"]]
        manifest = manifest[manifest["split"].isin(list(self.config.specificity.splits))]
        predictions = self.run.table(f"{audited_arm(self.config)}/{PREDICTIONS}", made_by="train")
        rows = manifest.merge(predictions[["visit_id", "predicted"]], on="visit_id")
        rows = rows[rows["predicted"] != rows["label"]]
        rows = rows.merge(annotated_artefacts(self.config, self.run), on="image_id")
        return {
            artefact_name(name): sorted(rows.loc[rows[name].fillna(0) > 0, "visit_id"].unique().tolist())
            for name in rows.columns
            if name.startswith(ARTEFACT_PREFIX)
        }

    def _right_without_lesion(self) -> list[str]:
        """Visits that stay right without the lesion's box, the surest first."""
        views = self.tables["views"]
        hidden = views[views["view"] == "no_roi_box"]
        labels = self.run.manifest().drop_duplicates("visit_id").set_index("visit_id")["label"]
        hidden = hidden[hidden["predicted"].to_numpy() == hidden["visit_id"].map(labels).to_numpy()]
        columns = [name for name in hidden.columns if name.startswith("probability_")]
        order = hidden.assign(top=hidden[columns].max(axis=1)).sort_values("top", ascending=False)
        visit_ids: list[str] = order["visit_id"].astype(str).head(6).tolist()
        return visit_ids


def _effects(config: AuditConfig, run: RunFolder, tables: dict[str, pd.DataFrame]) -> pd.DataFrame | None:
    """Flagged training images against the rest; None before jobs/prune.py listed any."""
    flagged = set(flagged_image_ids(run))
    if not flagged:
        return None
    manifest = run.manifest()
    train = manifest[manifest["split"] == "train"]
    flags = annotated_artefacts(config, run).set_index("image_id")
    train = train.assign(
        reader_disagreement=(train["label"] != train["label_reader2"])
        .where(train["label_reader2"].notna())
        .astype("Float64")
    )
    measures = {"reader_disagreement": "yes_no"}
    if len(flags.columns):
        train = train.assign(artefact=train["image_id"].map(flags.max(axis=1)).astype("Float64"))
        measures["artefact"] = "yes_no"
    if "training_agreement" in tables:
        lift = tables["training_agreement"].set_index("image_id")["lift"]
        train = train.assign(lesion_lift=train["image_id"].map(lift).astype("Float64"))
        measures["lesion_lift"] = "number"
    return flagged_effects(
        train,
        flagged,
        measures,
        draws=config.evaluate.bootstrap_draws,
        seed=config.evaluate.seed,
        confidence=config.evaluate.confidence,
    )


def _pictures(config: AuditConfig, run: RunFolder, tables: dict[str, pd.DataFrame]) -> dict[str, list[Shown]]:
    maker = AuditPictures(config, run)
    pictures: dict[str, list[Shown]] = {}
    if "views" in tables:
        surest = maker.surest_images(tables["views"]["visit_id"].unique().tolist(), SUREST_SHOWN)
        pictures["views"] = maker.clearest_views([image_id for image_id, _ in surest])
        chosen = surest[: config.masking.shap_images]
        pictures["shap"] = maker.shap(chosen, config.masking.shap_evaluations) if chosen else []
    if "agreement" in tables:
        most = config.saliency.gallery_images
        ranked = tables["agreement"].dropna(subset=["lift"])
        pictures["high"] = maker.saliency(ranked.nlargest(most, "lift"), tables["maps"])
        pictures["low"] = maker.saliency(ranked.nsmallest(most, "lift"), tables["maps"])
    if "effects" in tables:
        pictures["gradcam"] = maker.gradcam(flagged_image_ids(run))
    return pictures


def _track(config: AuditConfig, inputs: AuditsInputs, page: str) -> None:
    """Page, tables, figures and the audits' main numbers, with the run's other results."""
    with AuditLog(config.track, inputs.run) as mlflow_log:
        mlflow_log.log_file(AUDITS_PAGE, page.encode())
        for name, table in inputs.tables.items():
            mlflow_log.log_table(f"audits/{name}", table)
        for name, picture in audit_figures(inputs).items():
            mlflow_log.log_file(f"figures/audits/{name}.png", picture.png())
        mlflow_log.log_metrics(_metrics(inputs))


def _metrics(inputs: AuditsInputs) -> dict[str, float]:
    found: dict[str, float] = {}
    if "masking" in inputs.tables:
        auc = inputs.tables["masking"].set_index("view")["auc"]
        found |= {f"masking/auc_{view}": float(auc[view]) for view in ("full", "no_roi_box", "only_roi")}
    if "strata" in inputs.tables:
        rows = inputs.tables["strata"]
        overall = rows[(rows["stratum"] == "all") & (rows["metric"] == "lift")]
        found["saliency/lift"] = float(overall["value"].iloc[0])
    if "artefacts" in inputs.tables and len(inputs.tables["artefacts"]):
        found["artefacts/widest_gap"] = float(inputs.tables["artefacts"]["gap"].abs().max())
    return {name: value for name, value in found.items() if value == value}

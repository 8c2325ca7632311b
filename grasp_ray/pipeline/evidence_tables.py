"""Judge the studied trials together and write the tables, the text and the figures of the evidence."""

import pandas as pd

from grasp_ray.config import AuditConfig
from grasp_ray.evidence import finding
from grasp_ray.evidence.judging import arm_table, gain_table, judge_trial, nested_choice, recovery_table
from grasp_ray.evidence.study import half_of_validation
from grasp_ray.on_ray.evidence import (
    ARTEFACTS,
    DATAMODEL,
    IMAGE_SCORES,
    PREDICTIONS,
    STABILITY,
    TRUTH,
    VISIT_SCORES,
    VISITS,
    TrialStudy,
)
from grasp_ray.pipeline.run_folder import RunFolder
from grasp_ray.report.evidence_figures import datamodel_figure, dose_figure, flagger_figure
from grasp_ray.report.evidence_text import arms_text, controls_text, plain_text, quality_text
from grasp_ray.report.figure_style import Picture

REPORT = "report/evidence.md"
ORACLE = "oracle_removal"

Tables = dict[str, pd.DataFrame]


def judge_studies(config: AuditConfig, studies: list[TrialStudy]) -> Tables:
    """All tables by name; those whose part was not asked for are absent."""
    tables: Tables = {"quality": _quality(config, studies)}
    confidence, seed = config.evaluate.confidence, config.evaluate.seed
    if "agreement" in config.evidence.parts:
        rows = [
            finding.agreement_rows(study.output.read_table(STABILITY), top_share=config.evidence.budget_share)
            for study in studies
            if STABILITY in study.tables
        ]
        keys = ["metric", "pair", "flagger"]
        tables["agreement"] = finding.over_trials(pd.concat(rows), keys, confidence)
    if "arms" in config.evidence.parts:
        tables |= _arms(config, studies)
    measured = {study.seed: study for study in studies if DATAMODEL in study.tables}
    if measured:
        of_trial = {trial: study.output.read_table(DATAMODEL) for trial, study in measured.items()}
        tables["datamodel"] = finding.datamodel_summary(of_trial, confidence, seed=seed)
    return tables


def _quality(config: AuditConfig, studies: list[TrialStudy]) -> pd.DataFrame:
    frames = []
    for study in studies:
        scores, truth = study.output.read_table(VISIT_SCORES), study.output.read_table(TRUTH)
        visits = study.output.read_table(VISITS)
        wrong = truth.loc[truth["label_error"], "visit_id"]
        frames.append(finding.finding_rows(scores, wrong, "label error"))
        frames.append(finding.disagreement_rows(scores, visits, config.evaluate))
        artefacts = study.output.read_table(ARTEFACTS)
        frames.append(finding.artefact_rows(study.output.read_table(IMAGE_SCORES), artefacts))
    rows = pd.concat([frame for frame in frames if len(frame)], ignore_index=True)
    table = finding.over_trials(rows, ["target", "metric", "flagger"], config.evaluate.confidence)
    return table.assign(low=table["low"].clip(0, 1), high=table["high"].clip(0, 1))  # all are shares


def _arms(config: AuditConfig, studies: list[TrialStudy]) -> Tables:
    predictions = {study.seed: study.output.read_table(PREDICTIONS) for study in studies}
    judged = [judge_trial(table, config.evaluate) for table in predictions.values()]
    choosing = {
        study.seed: half_of_validation(study.output.read_table(VISITS), queries=False) for study in studies
    }
    arms = (config.evidence.default, "opponents", "class_matched", "random")
    return {
        "arms": arm_table(judged, config.evaluate.confidence),
        "gains": gain_table(judged, config.evidence, config.evaluate),
        "recovery": recovery_table(judged, config.evaluate),
        "nested_choice": nested_choice(predictions, choosing, arms, config.evaluate),
    }


def write_evidence(config: AuditConfig, run: RunFolder, tables: Tables) -> str:
    """Write tables/….parquet, report/evidence.md and report/….png; return the text."""
    for name, table in tables.items():
        run.storage.write_table(f"tables/{name}.parquet", table)
    for name, picture in evidence_figures(config, tables).items():
        run.storage.write_bytes(f"report/{name}.png", picture.png())
    text = _text(tables)
    run.storage.write_bytes(REPORT, text.encode())
    return text


def evidence_figures(config: AuditConfig, tables: Tables) -> dict[str, Picture]:
    """The figures that the tables allow, by name."""
    title = "Planted label errors found in the first 30 % of visits"
    figures = {
        "evidence_flaggers": flagger_figure(
            tables["quality"], "label error", "recall_30%", chance=0.3, title=title
        )
    }
    if "gains" in tables:
        gains = tables["gains"]
        ceiling = gains[gains["arm"].isin([ORACLE, "oracle_relabel"]) & (gains["against"] == "baseline")]
        figures["evidence_dose"] = dose_figure(gains, config.evidence.default, ceiling)
    if "datamodel" in tables:
        figures["evidence_datamodel"] = datamodel_figure(tables["datamodel"])
    return figures


def _text(tables: Tables) -> str:
    parts = ["# Tables of the evidence\n"]
    for target in tables["quality"]["target"].unique():
        parts += [f"\n## Found: {target}\n", quality_text(tables["quality"], target)]
    if "arms" in tables:
        arms = arms_text(tables["arms"], tables["gains"], tables["recovery"], oracle=ORACLE)
        parts += ["\n## Arms\n", arms, "\n## Against controls\n", controls_text(tables["gains"])]
        parts += ["\n## Share chosen on other validation patients\n", plain_text(tables["nested_choice"])]
    for name in ("datamodel", "agreement"):
        if name in tables:
            parts += [f"\n## {name.capitalize()}\n", plain_text(tables[name])]
    return "\n".join(parts)

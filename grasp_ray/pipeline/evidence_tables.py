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
    LEAVING,
    PREDICTIONS,
    STABILITY,
    TRUTH,
    VISIT_SCORES,
    VISITS,
    TrialStudy,
)
from grasp_ray.pipeline.run_folder import RunFolder
from grasp_ray.report.evidence_figures import datamodel_figure, dose_figure, flagger_figure
from grasp_ray.report.evidence_text import (
    arms_text,
    controls_text,
    datamodel_text,
    plain_text,
    quality_text,
)
from grasp_ray.report.figure_style import Picture

REPORT = "report/evidence.md"
ORACLE = "oracle_removal"
SIMULATED = "simulated"

Tables = dict[str, pd.DataFrame]


def judge_studies(config: AuditConfig, studies: list[TrialStudy]) -> Tables:
    """All tables by name; those whose part was not asked for are absent."""
    tables: Tables = {"quality": _quality(config, studies)}
    simulated = [study for study in studies if study.data == SIMULATED]
    confidence, seed = config.evaluate.confidence, config.evaluate.seed
    agreeing = _read(simulated, STABILITY)
    if agreeing:
        share = config.evidence.budget_share
        rows = [finding.agreement_rows(table, top_share=share) for table in agreeing.values()]
        keys = ["metric", "pair", "flagger"]
        tables["agreement"] = finding.over_trials(pd.concat(rows), keys, confidence)
    if "arms" in config.evidence.parts:
        tables |= _arms(config, simulated)
    halved = _read(simulated, DATAMODEL)
    if halved:
        tables["datamodel"] = finding.datamodel_summary(halved, confidence, seed=seed)
    if len(halved) > 1:
        tables["datamodel_contrasts"] = finding.datamodel_contrasts(halved, confidence)
    left = _read(simulated, LEAVING)
    if left:
        tables["leaving"] = finding.leaving_summary(left, confidence)
    return tables


def _read(studies: list[TrialStudy], name: str) -> dict[int, pd.DataFrame]:
    """The table of each study that was asked for it, by the trial's seed."""
    return {study.seed: study.output.read_table(name) for study in studies if name in study.tables}


def _quality(config: AuditConfig, studies: list[TrialStudy]) -> pd.DataFrame:
    frames = []
    for study in studies:
        scores, truth = study.output.read_table(VISIT_SCORES), study.output.read_table(TRUTH)
        visits = study.output.read_table(VISITS)
        wrong = truth.loc[truth["label_error"], "visit_id"]
        artefacts = study.output.read_table(ARTEFACTS)
        with_reference = pd.concat([scores, finding.rare_label_scores(visits)])
        of_study = [
            finding.finding_rows(with_reference, wrong, "label error"),
            finding.disagreement_rows(scores, visits, config.evaluate),
            finding.artefact_rows(study.output.read_table(IMAGE_SCORES), artefacts),
        ]
        frames += [frame.assign(data=study.data) for frame in of_study if len(frame)]
    rows = pd.concat(frames, ignore_index=True)
    table = finding.over_trials(rows, ["data", "target", "metric", "flagger"], config.evaluate.confidence)
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
    quality = tables["quality"]
    simulated = quality[quality["data"] == SIMULATED]
    figures = {
        "evidence_flaggers": flagger_figure(simulated, "label error", "recall_30%", chance=0.3, title=title)
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
    quality = tables["quality"]
    for data in quality["data"].unique():
        of_data = quality[quality["data"] == data]
        for target in of_data["target"].unique():
            parts += [f"\n## Found, {data}: {target}\n", quality_text(of_data, target)]
    if "arms" in tables:
        arms = arms_text(tables["arms"], tables["gains"], tables["recovery"], oracle=ORACLE)
        parts += ["\n## Arms\n", arms, "\n## Against controls\n", controls_text(tables["gains"])]
        parts += ["\n## Share chosen on other validation patients\n", plain_text(tables["nested_choice"])]
    if "datamodel" in tables:
        parts += ["\n## Linear datamodeling score\n", datamodel_text(tables["datamodel"])]
    for name in ("datamodel_contrasts", "leaving", "agreement"):
        if name in tables:
            parts += [f"\n## {name.replace('_', ' ').capitalize()}\n", plain_text(tables[name])]
    return "\n".join(parts)

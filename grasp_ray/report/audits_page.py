"""The verdict page of the shortcut audits: one self-contained HTML file in the report's look."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from grasp_ray.report import formats
from grasp_ray.report.audit_verdict import Verdict
from grasp_ray.report.figure_style import Picture
from grasp_ray.report.figures_audits import (
    artefact_figure,
    lift_figure,
    masking_figure,
    matrix_figure,
    supervision_figure,
    view_name,
)
from grasp_ray.report.gallery import jpeg_uri
from grasp_ray.report.settings import ReportSettings
from grasp_ray.report.tables import has_text, records
from grasp_ray.report.template import page_style, template

AUDIT_NAMES = {
    "artefacts": "Annotated artefacts",
    "masking": "Masking",
    "saliency": "Saliency",
    "supervision": "Location supervision",
    "influence": "Flagged images",
}
STATUS_NAMES = {
    "shortcut": "reads something else",
    "lesion": "no shortcut shown",
    "unclear": "open",
    "blocked": "no conclusion",
    "not_known": "not tested",
    "measured": "measured",
}


@dataclass(frozen=True)
class Shown:
    """A picture with its words."""

    title: str
    text: str
    photo: NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class AuditsInputs:
    """The audits' tables by name (absent ones are left out), pictures by section, and the verdict."""

    run: Mapping[str, Any]
    verdict: Verdict
    tables: Mapping[str, pd.DataFrame]
    pictures: Mapping[str, Sequence[Shown]] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    """What each audit took."""
    class_names: Sequence[str] = ()
    confidence: float = 0.95
    settings: ReportSettings = field(default_factory=ReportSettings)


def audit_figures(inputs: AuditsInputs) -> dict[str, Picture]:
    """Every figure that the tables allow, by name."""
    tables = inputs.tables
    figures: dict[str, Picture] = {}
    if "masking" in tables and tables["masking"]["auc"].notna().any():
        figures["masking"] = masking_figure(tables["masking"])
    if "matrix" in tables and tables["matrix"]["auc"].notna().any():
        figures["matrix"] = matrix_figure(tables["matrix"])
    if "strata" in tables:
        figures["lift"] = lift_figure(tables["strata"])
    if "artefacts" in tables and (~tables["artefacts"]["note"].map(has_text)).any():
        figures["artefacts"] = artefact_figure(tables["artefacts"])
    if "supervisions" in tables:
        gaps = tables["supervisions"].query("measure == 'gap' and value.notna()").sort_values("value")
        if len(gaps):
            widest = gaps.iloc[-1]
            figures["supervision"] = supervision_figure(
                tables["supervisions"], str(widest["artefact"]), int(widest["label"])
            )
    return figures


def render_audits_page(inputs: AuditsInputs) -> str:
    """The page as HTML; a section whose audit was not run says so in the verdict alone."""
    pictures = {
        section: [(shown, jpeg_uri(shown.photo, inputs.settings)) for shown in several]
        for section, several in inputs.pictures.items()
        if inputs.settings.thumbnails and several
    }
    tables = {name: records(table) for name, table in inputs.tables.items()}
    for row in tables.get("masking", []):
        row["name"] = view_name(row, inputs.class_names)
    return template("audits.html").render(
        run=inputs.run,
        verdict=inputs.verdict,
        audit_names=AUDIT_NAMES,
        status_names=STATUS_NAMES,
        figures=audit_figures(inputs),
        tables=tables,
        pictures=pictures,
        seconds=inputs.seconds,
        confidence=formats.percent(inputs.confidence, 0),
        style=page_style(),
    )

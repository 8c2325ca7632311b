"""The report page: one self-contained HTML file, no script and no external request.

Arranges what the other modules of this room make; the template holds the words.
"""

from collections.abc import Callable, Iterator
from typing import Any

from grasp_ray.report.figure_style import Picture
from grasp_ray.report.figures import dose_response, group_forest, training_curves
from grasp_ray.report.figures_confusion import confusion_matrices
from grasp_ray.report.figures_influence import (
    disagreement_curve,
    lead_flagger,
    removal_overlap,
    score_histogram,
)
from grasp_ray.report.gallery import gallery
from grasp_ray.report.headline import confidence_name, headline
from grasp_ray.report.inputs import ReportInputs, gallery_image_ids, pictured_image_ids
from grasp_ray.report.page_rows import (
    compared_arms,
    comparison_blocks,
    flattened,
    found_rows,
    group_rows,
    has_rows,
    inspected_share,
    planted_rows,
    quality_rows,
    query_rows,
)
from grasp_ray.report.table_text import (
    column_title,
    comparison_csv,
    comparison_latex,
    result_columns,
)
from grasp_ray.report.tables import (
    arm_name,
    comparison_table,
    contrasts_present,
    mean_over_seeds,
    records,
)
from grasp_ray.report.template import page_style, template

__all__ = ["ReportInputs", "gallery_image_ids", "pictured_image_ids", "render_page", "report_figures"]

_RUN_FIELDS = ("name", "started", "updated", "git_commit", "orientation", "versions")
"""Entries of run.json with a line of their own; absent ones have none."""


def render_page(inputs: ReportInputs) -> str:
    """The whole report as HTML. Sections whose table is absent or empty are left out."""
    return template("page.html").render(**_context(inputs), style=page_style())


def report_figures(inputs: ReportInputs) -> dict[str, Picture]:
    """All figures that the inputs allow, by name: the page's, and for other places to show."""
    return {name: draw() for name, draw in _drawings(inputs)}


def _drawings(inputs: ReportInputs) -> Iterator[tuple[str, Callable[[], Picture]]]:
    k = inputs.shown_k
    removals = inputs.removals.get(k)
    compared = compared_arms(inputs)
    yield "dose_response", lambda: dose_response(inputs.arms, chosen_k=inputs.chosen_k)
    if removals is not None and len(inputs.removal_summary):
        yield "removal_overlap", lambda: removal_overlap(inputs.removal_summary, removals, shown_k=k)
        if inputs.influence is not None:
            influence = inputs.influence
            yield "score_histogram", lambda: score_histogram(influence, removals, shown_k=k)
    if has_rows(inputs.confusion):
        confusion = inputs.confusion
        arms = [pair for pair in compared if pair[0] in ("baseline", "influence")]
        yield "confusion_matrices", lambda: confusion_matrices(confusion, inputs.class_names, arms=arms)
    if inputs.arms["group"].ne("all").any():
        smallest = inputs.settings.smallest_group_visits
        yield (
            "groups",
            lambda: group_forest(inputs.arms, compared=compared, reader="reader1", smallest_visits=smallest),
        )
    if has_rows(inputs.disagreement):
        curves = inputs.disagreement
        yield (
            "disagreement",
            lambda: disagreement_curve(
                curves, lead=lead_flagger(curves), marked_fraction=inspected_share(inputs)
            ),
        )
    if inputs.histories:
        yield "training_curves", lambda: training_curves(inputs.histories, highlighted=compared)


def _context(inputs: ReportInputs) -> dict[str, Any]:
    table = comparison_table(inputs.arms, inputs.comparisons, inputs.removal_summary)
    means = mean_over_seeds(inputs.arms)
    return {
        "run": {**dict.fromkeys(_RUN_FIELDS), **inputs.run},
        "settings": list(flattened(inputs.run.get("config", {}))),
        "results": list(flattened(inputs.run.get("results", {}))),
        "headline": headline(inputs),
        "confidence": confidence_name(inputs),
        "chosen_k": inputs.chosen_k,
        "k": inputs.shown_k,
        "figures": report_figures(inputs),
        "columns": [column_title(name) for name in result_columns(table)],
        "contrasts": [arm_name(name) for name in contrasts_present(table)],
        "blocks": list(comparison_blocks(table, inputs.chosen_k)),
        "notes": [
            (arm_name(str(row["arm"])), row["k"], row["note"]) for row in records(table) if row["note"]
        ],
        "latex": comparison_latex(table, chosen_k=inputs.chosen_k),
        "csv": comparison_csv(table),
        "removal_rows": records(inputs.removal_summary.sort_values("k")),
        "planted": planted_rows(inputs),
        "cards": gallery(inputs),
        "queries": query_rows(inputs),
        "group_rows": group_rows(means, compared_arms(inputs)),
        "group_columns": [f"{arm_name(arm)}{f', k = {k}' if k else ''}" for arm, k in compared_arms(inputs)],
        "found": found_rows(inputs),
        "inspected": inspected_share(inputs),
        "quality": quality_rows(inputs.flagger_quality) if has_rows(inputs.flagger_quality) else [],
        "seeds": int(inputs.arms.loc[inputs.arms["seed"] >= 0, "seed"].nunique()),
    }

"""The report page: one self-contained HTML file, no script and no external request.

Arranges what the other modules of this room make; the template holds the words.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from grasp_ray.evaluation.arm_names import INFLUENCE, SUSPECTS, control_of
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
    removal_rows,
)
from grasp_ray.report.table_text import (
    column_title,
    comparison_csv,
    comparison_latex,
    result_columns,
)
from grasp_ray.report.tables import (
    arm_name,
    arm_title,
    comparison_table,
    contrasts_present,
    mean_over_seeds,
    records,
    removal_title,
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
    k = _listed_k(inputs)
    removals = inputs.removals.get(k)
    lists = inputs.removal_summary[inputs.removal_summary["arm"] == INFLUENCE]
    compared = compared_arms(inputs)
    for removal, name in ((INFLUENCE, "dose_response"), (SUSPECTS, "dose_response_suspects")):
        if (inputs.arms["arm"] == removal).any() or removal == INFLUENCE:
            chosen_k = inputs.chosen_k if inputs.chosen_arm == removal else 0
            yield name, partial(dose_response, inputs.arms, chosen_k=chosen_k, removal=removal)
    if removals is not None and len(lists):
        yield "removal_overlap", lambda: removal_overlap(lists, removals, shown_k=k)
        if inputs.influence is not None:
            influence = inputs.influence
            yield "score_histogram", lambda: score_histogram(influence, removals, shown_k=k)
    if has_rows(inputs.confusion):
        confusion = inputs.confusion
        arms = [pair for pair in compared if not control_of(pair[0])]
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


def _listed_k(inputs: ReportInputs) -> int:
    """The k whose lists are pictured: the shown one, or the first where suspects are shown."""
    arm, k = inputs.shown
    return k if arm == INFLUENCE or not inputs.removals else min(inputs.removals)


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
        "shown": removal_title(*inputs.shown),
        "shown_suspects": inputs.shown[0] == SUSPECTS,
        "figures": report_figures(inputs),
        "columns": [column_title(name) for name in result_columns(table)],
        "contrasts": [arm_name(name) for name in contrasts_present(table)],
        "blocks": list(comparison_blocks(table, inputs.chosen_k, inputs.chosen_arm)),
        "notes": [
            (arm_title(str(row["arm"]), int(row["k"])), row["note"]) for row in records(table) if row["note"]
        ],
        "latex": comparison_latex(table, chosen_k=inputs.chosen_k, chosen_arm=inputs.chosen_arm),
        "csv": comparison_csv(table),
        "removal_rows": removal_rows(inputs, INFLUENCE),
        "suspect_rows": removal_rows(inputs, SUSPECTS),
        "chosen": inputs.chosen,
        "planted": planted_rows(inputs),
        "cards": gallery(inputs),
        "queries": query_rows(inputs),
        "group_rows": group_rows(means, compared_arms(inputs)),
        "group_columns": [arm_title(arm, k) for arm, k in compared_arms(inputs)],
        "found": found_rows(inputs),
        "inspected": inspected_share(inputs),
        "quality": quality_rows(inputs.flagger_quality) if has_rows(inputs.flagger_quality) else [],
        "seeds": int(inputs.arms.loc[inputs.arms["seed"] >= 0, "seed"].nunique()),
    }

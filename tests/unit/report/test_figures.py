import io
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from grasp_ray.report.figures import dose_response, group_forest, group_order
from grasp_ray.report.figures_confusion import confusion_matrices
from grasp_ray.report.figures_influence import disagreement_curve, found_at, lead_flagger, removal_overlap
from grasp_ray.report.inputs import ReportInputs
from grasp_ray.report.page import report_figures


def texts_of(svg: str) -> list[str]:
    return [
        "".join(node.itertext()).strip() for node in ET.fromstring(svg).iter() if node.tag.endswith("}text")
    ]


def test_all_figures_are_drawn_as_valid_svg_and_png_with_a_text_for_those_who_cannot_see(
    report_inputs: ReportInputs,
) -> None:
    pictures = report_figures(report_inputs)
    assert list(pictures) == [
        "dose_response", "removal_overlap", "score_histogram", "confusion_matrices", "groups",
        "disagreement", "training_curves",
    ]  # fmt: skip
    for picture in pictures.values():
        assert texts_of(picture.svg())
        assert len(picture.alt_text) > 40
    with Image.open(io.BytesIO(pictures["dose_response"].png(50))) as image:
        assert image.width > image.height


def test_the_same_frames_give_the_same_svg(report_inputs: ReportInputs) -> None:
    first, second = (dose_response(report_inputs.arms, chosen_k=300).svg() for _ in range(2))
    assert first == second
    shuffled = report_inputs.arms.sample(frac=1, random_state=4)
    lines = [line.get_ydata() for line in dose_response(shuffled, chosen_k=300).figure.axes[1].get_lines()]
    ordered = [
        line.get_ydata()
        for line in dose_response(report_inputs.arms, chosen_k=300).figure.axes[1].get_lines()
    ]
    assert all(np.array_equal(a, b) for a, b in zip(lines, ordered, strict=True))


def test_dose_response_draws_the_means_of_each_arm(report_inputs: ReportInputs) -> None:
    axes = dose_response(report_inputs.arms, chosen_k=300).figure.axes[1]
    drawn = {line.get_label(): line.get_ydata() for line in axes.get_lines()}
    arms = report_inputs.arms
    wanted = arms[
        (arms["arm"] == "class_matched") & (arms["seed"] == -1) & (arms["split"] == "test")
        & (arms["reader"] == "reader1") & (arms["metric"] == "auc") & (arms["group"] == "all")
    ].sort_values("k")  # fmt: skip
    np.testing.assert_array_equal(drawn["class-matched control"], wanted["value"])


def test_confusion_counts_are_means_over_seeds_and_the_shares_of_a_class_sum_to_one(
    report_inputs: ReportInputs,
) -> None:
    assert report_inputs.confusion is not None
    picture = confusion_matrices(
        report_inputs.confusion, report_inputs.class_names, arms=[("baseline", 0), ("influence", 300)]
    )
    assert len(picture.figure.axes) == 4
    share = picture.figure.axes[1].get_images()[0].get_array()
    np.testing.assert_allclose(share.sum(axis=1), 1)
    np.testing.assert_allclose(share[0], np.array([55, 10, 1]) / 66)
    assert "influence removal, k = 300, Reader 1: 131 of 170" in picture.alt_text


def test_a_reader_who_scored_no_test_visit_has_no_confusion_matrix(report_inputs: ReportInputs) -> None:
    assert report_inputs.confusion is not None
    unread = report_inputs.confusion["reader"] == "reader2"
    confusion = report_inputs.confusion.assign(visits=report_inputs.confusion["visits"].mask(unread, 0))
    picture = confusion_matrices(confusion, report_inputs.class_names, arms=[("baseline", 0)])
    assert len(picture.figure.axes) == 1
    assert "Reader 2" not in picture.alt_text


def test_confusion_of_another_split_is_not_counted(report_inputs: ReportInputs) -> None:
    assert report_inputs.confusion is not None
    both = report_inputs.confusion.assign(split="validation", visits=1000)
    with_validation = np.concatenate([report_inputs.confusion.to_numpy(), both.to_numpy()])
    frame = type(both)(with_validation, columns=both.columns)
    picture = confusion_matrices(frame, report_inputs.class_names, arms=[("baseline", 0)])
    assert "of 170 visits" in picture.alt_text


def test_a_group_without_a_value_says_why_and_has_no_point(report_inputs: ReportInputs) -> None:
    picture = group_forest(report_inputs.arms, compared=[("baseline", 0)], reader="reader1")
    axes = picture.figure.axes[0]
    points = next(line for line in axes.get_lines() if line.get_label() == "baseline")
    groups = len(axes.get_yticks())
    assert len(points.get_xdata()) == groups - 2
    assert {text.get_text().strip() for text in axes.texts} == {"only 6 visits", "only 2 visits"}


def test_small_groups_can_be_left_out(report_inputs: ReportInputs) -> None:
    picture = group_forest(
        report_inputs.arms, compared=[("baseline", 0)], reader="reader1", smallest_visits=10
    )
    assert not picture.figure.axes[0].texts


def test_groups_stand_in_a_clinical_order() -> None:
    groups = ["week=8", "site=B", "skin_type=I-III", "all", "sex=F", "skin_type=V", "week=12", "skin_type=I"]
    assert sorted(groups, key=group_order) == [
        "all", "skin_type=I", "skin_type=V", "skin_type=I-III", "sex=F", "week=8", "week=12", "site=B",
    ]  # fmt: skip


def test_the_lead_flagger_keeps_its_interval_among_many(report_inputs: ReportInputs) -> None:
    curves = report_inputs.disagreement
    assert curves is not None
    assert lead_flagger(curves) == "self_influence_max"
    point = found_at(curves, "self_influence_max", 0.31)
    assert point is not None
    assert point["inspected_fraction"] == pytest.approx(0.3)
    assert found_at(curves, "none such", 0.3) is None
    picture = disagreement_curve(curves, lead="self_influence_max")
    labels = {line.get_label() for line in picture.figure.axes[0].get_lines()}
    assert {"self-influence (max)", "random order", "ideal order", "loss", "other flaggers"} <= labels


def test_overlap_bars_end_at_the_listed_entries(report_inputs: ReportInputs) -> None:
    picture = removal_overlap(report_inputs.removal_summary, report_inputs.removals[300], shown_k=300)
    tops = sorted(bar.get_y() + bar.get_height() for bar in picture.figure.axes[0].patches)
    assert tops[-1] == 9 * 500


def test_a_run_that_removed_nothing_still_has_its_baseline_figure(
    small_inputs: Callable[..., ReportInputs],
) -> None:
    inputs = small_inputs()
    bare = replace(
        inputs,
        arms=inputs.arms[inputs.arms["arm"] == "baseline"],
        comparisons=inputs.comparisons.head(0),
        removal_summary=inputs.removal_summary.head(0),
        removals={},
        chosen_k=0,
        confusion=None,
        histories={},
        disagreement=None,
    )
    assert list(report_figures(bare)) == ["dose_response", "groups"]

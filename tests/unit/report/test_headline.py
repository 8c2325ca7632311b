from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from grasp_ray.report.headline import headline, verdict_of
from grasp_ray.report.inputs import ReportInputs


def difference(low: float, high: float) -> dict[str, Any]:
    return {"difference": (low + high) / 2, "low": low, "high": high, "p_value": 0.5, "note": ""}


UP, NONE, DOWN = difference(0.01, 0.05), difference(-0.02, 0.03), difference(-0.05, -0.01)


@pytest.mark.parametrize(
    ("chosen_k", "baseline", "control", "verdict"),
    [
        (300, UP, UP, "helped"),
        (300, UP, NONE, "not_beyond_control"),
        (300, UP, DOWN, "not_beyond_control"),
        (300, UP, None, "helped_without_control"),
        (300, NONE, UP, "beyond_control_only"),
        (300, NONE, NONE, "no_clear_effect"),
        (300, NONE, None, "no_clear_effect"),
        (300, DOWN, UP, "hurt"),
        (300, None, UP, "untested"),
        (300, difference(np.nan, np.nan), UP, "untested"),
        (0, UP, UP, "kept_baseline"),
    ],
)
def test_removal_helped_only_when_baseline_and_control_are_both_beaten(
    chosen_k: int, baseline: dict[str, Any], control: dict[str, Any], verdict: str
) -> None:
    assert verdict_of(chosen_k, baseline, control) == verdict


def test_an_interval_that_touches_zero_is_not_clear() -> None:
    assert verdict_of(300, difference(0.0, 0.05), UP) == "beyond_control_only"


def test_the_headline_quotes_the_tables(report_inputs: ReportInputs) -> None:
    found = headline(report_inputs)
    text = " ".join(found.sentences)
    assert found.verdict == "helped"
    for quoted in ("2,291", "8.2", "0.902", "0.847", "+0.055", "0.854", "+0.048", "170 test visits", "95"):
        assert quoted in text
    assert report_inputs.chosen_reason in found.sentences
    labels = {tile.label: tile.value for tile in found.tiles}
    assert labels["AUC, Reader 2"] == "0.858 → 0.913"
    assert labels["Photos removed, k = 300"] == "2,291"


def test_kept_baseline_shows_the_best_removal_for_reference_only(
    small_inputs: Callable[..., ReportInputs],
) -> None:
    found = headline(small_inputs(scale=-0.3, chosen_k=0))
    assert found.verdict == "kept_baseline"
    assert any("For reference" in sentence and "k = 100" in sentence for sentence in found.sentences)


def test_chosen_suspects_are_spoken_of_as_visits(small_inputs: Callable[..., ReportInputs]) -> None:
    inputs = small_inputs(percents=(10,), chosen_k=10, chosen_arm="suspects")
    found = headline(inputs)
    text = " ".join(found.sentences)
    assert found.verdict == "helped"
    removed = len(inputs.suspects[10])
    assert f"Without {removed} of the training photos" in text
    assert "as many visits removed but drawn by chance within the same classes" in text
    assert "+0.040" in text
    assert {tile.label: tile.value for tile in found.tiles}["Photos removed, 10 % suspects"] == str(removed)


def test_no_control_is_said_and_not_hidden(small_inputs: Callable[..., ReportInputs]) -> None:
    inputs = small_inputs()
    against_baseline = inputs.comparisons["against"] == "baseline"
    found = headline(replace(inputs, comparisons=inputs.comparisons[against_baseline]))
    assert found.verdict == "helped_without_control"
    assert any("No control" in sentence for sentence in found.sentences)


def test_random_stands_in_where_no_class_matched_control_was_trained(
    small_inputs: Callable[..., ReportInputs],
) -> None:
    inputs = small_inputs()
    other = inputs.comparisons["against"] != "class_matched"
    text = " ".join(headline(replace(inputs, comparisons=inputs.comparisons[other])).sentences)
    assert "drawn by chance, reaches 0.842" in text


def test_an_untested_difference_gives_its_reason(small_inputs: Callable[..., ReportInputs]) -> None:
    inputs = small_inputs()
    comparisons = inputs.comparisons.copy()
    rows = (comparisons["against"] == "baseline") & (comparisons["metric"] == "auc")
    comparisons.loc[rows, ["difference", "low", "high", "p_value"]] = np.nan
    comparisons.loc[rows, "note"] = "only one patient"
    found = headline(replace(inputs, comparisons=comparisons))
    assert found.verdict == "untested"
    assert any("only one patient" in sentence for sentence in found.sentences)

import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser

import pandas as pd
import pytest

from grasp_ray.report.inputs import ReportInputs
from grasp_ray.report.page import render_page, report_figures
from grasp_ray.report.page_rows import flattened, quality_rows

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Outline(HTMLParser):
    """Collects what the tests ask about and refuses tags that do not close."""

    def __init__(self, page: str):
        super().__init__()
        self.open_tags: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(page)
        assert self.open_tags == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open_tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open_tags.pop() == tag, f"</{tag}> closes another tag"

    def handle_data(self, data: str) -> None:
        if "style" not in self.open_tags:
            self.text += data

    def having(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def page(report_inputs: ReportInputs) -> str:
    return render_page(report_inputs)


@pytest.fixture(scope="module")
def outline(page: str) -> Outline:
    return Outline(page)


def test_a_page_of_chosen_suspects_shows_their_visits_and_both_doses(
    small_inputs: Callable[..., ReportInputs],
) -> None:
    inputs = small_inputs(percents=(5, 10), chosen_k=10, chosen_arm="suspects")
    page = render_page(inputs)
    assert "10 % of the training visits, those with the most suspect labels" in page
    assert "Suspect visits, which leave whole." in page
    assert "is among the most suspect by confident learning" in page
    assert {"dose_response", "dose_response_suspects", "removal_overlap"} <= set(report_figures(inputs))
    assert "dose_response_suspects" not in report_figures(small_inputs())


def test_the_page_asks_for_nothing_from_outside(page: str, outline: Outline) -> None:
    for _, attributes in outline.tags:
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("data:", "#"))
    assert not outline.having("script")
    assert not outline.having("link")
    style = page.partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style


def test_pictures_tables_and_anchors_are_accessible(outline: Outline) -> None:
    assert all(image.get("alt") for image in outline.having("img"))
    assert len(outline.having("caption")) == len(outline.having("table"))
    assert all("scope" in header for header in outline.having("th"))
    ids = [attributes["id"] for _, attributes in outline.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {link["href"].removeprefix("#") for link in outline.having("a")}
    assert targets == set(ids)
    assert outline.having("html")[0]["lang"] == "en"


def test_the_headline_and_every_arm_are_on_the_page(outline: Outline) -> None:
    assert "Removing the flagged photos helped" in outline.text
    for wanted in (
        "+0.055",
        "[+0.019, +0.091]",
        "p = 0.003",
        "class-matched",
        "13.3\u00a0%",
        "positive=helpful",
    ):
        assert wanted in outline.text
    assert outline.text.count("chosen") >= 1


def test_no_missing_number_leaks_as_nan(outline: Outline) -> None:
    assert not re.search(r"\b(nan|NaN|None|NaT)\b", outline.text)


def test_the_same_inputs_give_the_same_page(page: str, report_inputs: ReportInputs) -> None:
    assert render_page(report_inputs) == page


def test_ids_from_the_trial_cannot_inject_markup(small_inputs: Callable[..., ReportInputs]) -> None:
    inputs = small_inputs()
    hostile = '<img src="http://x" onerror=alert(1)>'
    removals = inputs.removals[300].copy()
    first = removals.index[removals["best_rank"] == removals["best_rank"].min()]
    removals.loc[first, ["image_id", "visit_id"]] = hostile
    removals = removals.drop_duplicates("image_id")
    page = render_page(
        replace(inputs, removals={**inputs.removals, 300: removals}, class_names=(hostile, "b", "</style>"))
    )
    found = Outline(page)
    assert all("onerror" not in attributes for _, attributes in found.tags)
    assert hostile in found.text


def test_sections_without_their_table_are_left_out(small_inputs: Callable[..., ReportInputs]) -> None:
    inputs = small_inputs()
    arms = inputs.arms[inputs.arms["group"] == "all"]
    absent = ("queries", "influence", "disagreement", "flagger_quality", "confusion", "truth")
    inputs = replace(inputs, arms=arms, histories={}, thumbnails={}, **dict.fromkeys(absent))
    bare = Outline(render_page(inputs))
    ids = {attributes["id"] for _, attributes in bare.tags if "id" in attributes}
    assert ids == {"findings", "comparison", "dose", "removed", "gallery", "run", "reading"}
    assert {link["href"].removeprefix("#") for link in bare.having("a")} == ids
    assert "no picture" in bare.text
    assert "planted" not in bare.text


def test_lists_that_are_shorter_than_k_are_said(small_inputs: Callable[..., ReportInputs]) -> None:
    inputs = replace(small_inputs(), influence=None, histories={}, disagreement=None, confusion=None)
    assert "shorter than k" not in Outline(render_page(inputs)).text
    short = replace(inputs, removal_summary=inputs.removal_summary.assign(short_lists=[0, 2]))
    assert "k = 300: 2 of 9 lists are shorter than k" in Outline(render_page(short)).text


def test_a_baseline_only_run_renders(small_inputs: Callable[..., ReportInputs]) -> None:
    inputs = small_inputs()
    alone = ReportInputs(
        arms=inputs.arms[inputs.arms["arm"] == "baseline"],
        comparisons=inputs.comparisons.head(0),
        removal_summary=inputs.removal_summary.head(0),
        removals={},
        class_names=inputs.class_names,
        chosen_k=0,
        chosen_reason="No validation visit was misclassified, so there was nothing to trace.",
        run={"name": "alone"},
    )
    text = Outline(render_page(alone)).text
    assert "No validation visit was misclassified" in text
    assert "Flagged photos" not in text


def test_quality_without_a_target_or_value_still_makes_lines() -> None:
    frame = pd.DataFrame(
        {
            "flagger": ["loss", "loss", "aum"],
            "metric": ["auc", "average_precision", "auc"],
            "value": [0.7, 0.4, float("nan")],
            "low": [0.6, 0.3, float("nan")],
            "high": [0.8, 0.5, float("nan")],
            "examples": 10,
            "positives": 2,
            "note": ["", "", "all 10 examples are right"],
        }
    )
    lines = quality_rows(frame)
    assert [line["flagger"] for line in lines] == ["loss", "aum"]
    assert lines[1]["results"]["auc"].value == "–"


def test_settings_are_flattened_with_full_keys_in_order() -> None:
    nested = {"b": {"y": [1, 2], "x": None}, "a": True}
    assert list(flattened(nested)) == [("a", "True"), ("b.x", "(none)"), ("b.y", "1, 2")]

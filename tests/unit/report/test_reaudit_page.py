"""The page of a re-audit says what the tables say, alarms first."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from grasp_ray.monitoring.readers_over_time import PAIR
from grasp_ray.report.reaudit_page import ReauditInputs, headline, render_reaudit


def drift(named: bool) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "round": [1, 1], "group": ["site=site-2", "device=phone-A"], "statistic": ["warmth", "sharpness"],
            "old_median": [0.1, -5.0], "new_median": [0.6, -5.1], "difference": [0.5, -0.1],
            "shift": [4.2, -0.2], "p_value": [1e-6, 0.4], "p_holm": [2e-5, 1.0], "old_patients": [30, 28],
            "new_patients": [8, 9], "named": [named, False], "note": ["", ""],
        }
    )  # fmt: skip


@pytest.fixture
def inputs() -> ReauditInputs:
    looks = ["demo", "week-1", "week-2"]
    alarms = pd.DataFrame(
        {
            "kind": ["photos", "reader"], "where": ["site=site-2", "reader2"],
            "what": ["warmth", "more lenient"], "size": [4.2, -0.3], "p_holm": [2e-5, 0.004],
            "patients": [8, 9], "since": ["week-2", "week-1"],
            "sentence": ["Photos from site site-2 have changed <b>.", "Reader 2 has become more lenient."],
        }
    )  # fmt: skip
    medians = pd.DataFrame(
        [
            (number, site, statistic, 0.1 * number, 0.0, 0.2)
            for number in range(3)
            for site in ("site-1", "site-2")
            for statistic in ("warmth", "brightness")
        ],
        columns=["number", "group", "statistic", "median", "low", "high"],
    )
    readers = pd.DataFrame(
        {"number": range(3), "name": looks, "visits": [20, 0, 9], "kappa": [0.8, np.nan, 0.6],
         "agreement": [0.9, np.nan, 0.7], "bias": [0.0, np.nan, -0.3]}
    )  # fmt: skip
    metrics = pd.DataFrame(
        [
            (number, scope, "reader1", "auc", 0.9, 0.8, 0.95, 30, "")
            for number in range(3)
            for scope in ("standing", "since")
        ],
        columns=["number", "scope", "reader", "metric", "value", "low", "high", "visits", "note"],
    )
    new = pd.DataFrame(
        {
            "visit_id": ["V1", "V2"], "site": ["site-1", "site-2"], "device": ["phone-A", "phone-B"],
            "predicted_name": ["mild", "severe"], "uncertainty": [0.2, 0.9], "novelty_p": [0.4, 0.01],
            "unlike_training": [False, True], "self_influence": [1e-4, np.nan],
        }
    )  # fmt: skip
    flagged = pd.DataFrame(
        {
            "image_id": ["a", "b"], "visit_id": ["A", "B"], "status": ["entered", "stayed"],
            "times_listed": [2, 1], "best_rank": [1, 4], "query_ids": ["q", "q"], "why": ["new photo", ""],
        }
    )  # fmt: skip
    changes = pd.DataFrame(
        {
            "kind": ["new", "new", "withdrawn"],
            "what": ["visit", "photo", "visit"],
            "visit_id": ["V1", "V1", "V0"],
        }
    )
    return ReauditInputs(
        name="week-2", standing="demo", looks=looks, made="2026-11-24T05:00:00+00:00", trial="/trials/demo",
        changes=changes, alarms=alarms, due=True,
        rules=[{"name": "drift", "asks": True, "reason": "Sites whose photos moved: site=site-2 (limit 1)."}],
        drift=drift(True), medians=medians, group_column="site", readers=readers, metrics=metrics,
        flagged=flagged, new_visits=new, untraced=["V9"], on_pasi=True,
    )  # fmt: skip


def test_alarms_come_first_escaped_and_with_their_age(inputs: ReauditInputs) -> None:
    page = render_reaudit(inputs)
    assert headline(inputs) == "site-2: photos have changed (warmth) and Reader 2 has become more lenient"
    assert page.index("Photos from site site-2 have changed &lt;b&gt;.") < page.index(
        "What is new since week-1"
    )
    assert "first named now" in page
    assert "named since week-1" in page
    assert "Retraining is due" in page
    assert len(re.findall('<img src="data:image/svg', page)) == 3
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "nan" not in re.sub(r"base64,[^\"]+", "", page)


def test_the_headline_blames_no_reader_where_it_cannot_be_told_which(inputs: ReauditInputs) -> None:
    apart = inputs.alarms.iloc[1:].assign(where=PAIR, what="their difference")
    assert headline(replace(inputs, alarms=apart)) == "one reader has moved against the other"


def test_a_quiet_look_says_so_and_leaves_out_what_is_not_there(inputs: ReauditInputs) -> None:
    quiet = replace(
        inputs, alarms=inputs.alarms.iloc[:0], due=False, drift=drift(False).iloc[:0],
        new_visits=inputs.new_visits.iloc[:0], flagged=inputs.flagged.iloc[:0], untraced=[],
        readers=inputs.readers.assign(visits=0), medians=inputs.medians.iloc[:0],
        metrics=inputs.metrics.assign(value=np.nan),
    )  # fmt: skip
    page = render_reaudit(quiet)
    assert headline(quiet) == "No alarm; retraining is not due"
    assert "Too few patients came for any test" in page
    assert "<img" not in page
    assert 'href="#readers"' not in page

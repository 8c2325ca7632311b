"""A trial that grows: nothing that has arrived changes, and what changes from a week on is what was set."""

import pandas as pd
import pytest

from grasp_ray.trial.simulate.arrivals import arrival_weeks, arrived
from grasp_ray.trial.simulate.cohort import TrialPlan, plan_trial
from grasp_ray.trial.simulate.render import planned_rows, row_fingerprint
from grasp_ray.trial.simulate.settings import ArrivalSettings, SimulateSettings


@pytest.fixture(scope="module")
def whole() -> TrialPlan:
    return plan_trial(SimulateSettings(size="demo", seed=1))


def at(whole: TrialPlan, week: int, **changes: object) -> TrialPlan:
    return arrived(whole, ArrivalSettings.model_validate({"week": week} | changes))


def fingerprints(plan: TrialPlan) -> dict[str, str]:
    rows = planned_rows(plan.images)
    return {row["image_id"]: row_fingerprint(row) for row in rows}


def test_shares_by_week_and_visits_of_a_patient_in_order(whole: TrialPlan) -> None:
    settings = ArrivalSettings(weeks=4, first_share=0.6)
    weeks = arrival_weeks(whole.visits, settings, seed=1)
    assert weeks.value_counts().sort_index().tolist() == [180, 30, 30, 30, 30]
    ordered = whole.visits.assign(arrival=weeks).sort_values(["patient_id", "week"])
    assert ordered.groupby("patient_id")["arrival"].apply(lambda cells: cells.is_monotonic_increasing).all()


def test_earlier_photos_keep_their_plan_and_scores_are_only_added(whole: TrialPlan) -> None:
    lamp = {"lamp_from_week": 2, "lenient_from_week": 2}
    before = at(whole, 1, **lamp)
    for week in (2, 3, 8):
        after = at(whole, week, **lamp)
        now = fingerprints(after)
        assert all(now[image_id] == plan for image_id, plan in fingerprints(before).items())
        earlier = after.visits.set_index("visit_id").loc[before.visits["visit_id"]].reset_index()
        known = before.visits["pasi_reader2"].notna()
        pd.testing.assert_frame_equal(
            earlier.loc[known, before.visits.columns], before.visits[known], check_exact=True
        )
        before = after
    assert len(before.visits) == len(whole.visits)
    second = before.visits["pasi_reader2"]
    assert second.notna().sum() < whole.visits["pasi_reader2"].notna().sum()  # the last week is still to come


def test_the_lamp_stands_at_one_site_from_its_week_on(whole: TrialPlan) -> None:
    settings = ArrivalSettings(week=8, lamp_from_week=3, lamp_site="site-2")
    weeks = arrival_weeks(whole.visits, settings, seed=1)
    plain, lit = (
        arrived(whole, settings.model_copy(update={"lamp_from_week": None})),
        arrived(whole, settings),
    )
    affected = set(whole.visits.loc[(weeks >= 3) & (whole.visits["site"] == "site-2"), "visit_id"])
    changed = plain.images["artefact"] != lit.images["artefact"]
    assert set(lit.images.loc[changed, "visit_id"]) <= affected
    assert set(lit.images.loc[lit.images["visit_id"].isin(affected), "artefact"]) == {"lamp"}
    assert len(affected) > 15


def test_a_lenient_reader_lowers_scores_of_its_week_and_later(whole: TrialPlan) -> None:
    settings = ArrivalSettings(week=8, lenient_from_week=4, leniency=0.5)
    weeks = arrival_weeks(whole.visits, settings, seed=1)
    plain = arrived(whole, settings.model_copy(update={"lenient_from_week": None})).visits["pasi_reader2"]
    lenient = arrived(whole, settings).visits["pasi_reader2"]
    read_late = weeks + 1 >= 4
    pd.testing.assert_series_equal(lenient[~read_late], plain[~read_late])
    given = read_late & plain.notna()
    assert given.sum() > 10
    pd.testing.assert_series_equal(lenient[given], (plain[given] * 0.5).round(1))

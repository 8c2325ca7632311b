"""A simulated trial that grows: which visits have arrived by a week, and what changes from a week on.

The whole trial is planned first and does not depend on the week it is looked at; a week only hides what has
not arrived yet. So photos of earlier weeks keep their bytes. Reader 2's scores come some weeks after a visit.
"""

import numpy as np
import pandas as pd

from grasp_ray.trial.simulate.cohort import TrialPlan
from grasp_ray.trial.simulate.seeding import stream
from grasp_ray.trial.simulate.settings import ArrivalSettings

_VISIT_SPACING = 0.01
"""How far apart in order a patient's visits lie: close together, so that every week has a like case mix."""


def arrival_weeks(visits: pd.DataFrame, settings: ArrivalSettings, seed: int) -> pd.Series:
    """Study week (int, in the frame's index) in which each visit arrives: 0 for `first_share` of them.

    The others are spread evenly over weeks 1 … `weeks`; a patient's visits come in their order.
    """
    people = sorted(visits["patient_id"].unique())
    enrolled = pd.Series(stream(seed, "arrivals").permutation(len(people)) / len(people), index=people)
    order = visits["patient_id"].map(enrolled) + _VISIT_SPACING * visits["week"] / 8
    place = order.rank(method="first").to_numpy(dtype=np.int64) - 1
    first = round(settings.first_share * len(visits))
    week = np.where(place < first, 0, 1 + (place - first) * settings.weeks // (len(visits) - first))
    return pd.Series(week, index=visits.index, name="arrival_week")


def arrived(plan: TrialPlan, settings: ArrivalSettings) -> TrialPlan:
    """The plan as of `settings.week`: visits that arrived, scores given by then, lamp and leniency."""
    seed = plan.settings.seed
    week = arrival_weeks(plan.visits, settings, seed)
    visits = _lenient(plan.visits, week, settings)
    late = week + settings.second_reading_after_weeks > settings.week
    visits["pasi_reader2"] = visits["pasi_reader2"].mask(late)
    lit = (visits["site"] == settings.lamp_site) & _from(week, settings.lamp_from_week)
    visits["artefact"] = visits["artefact"].mask(lit, "lamp")
    images = plan.images.assign(
        artefact=plan.images["artefact"].mask(
            plan.images["visit_id"].isin(visits.loc[lit, "visit_id"]), "lamp"
        )
    )
    visits = visits[week <= settings.week].reset_index(drop=True)
    images = images[images["visit_id"].isin(visits["visit_id"])].reset_index(drop=True)
    return TrialPlan(plan.settings, visits, images)


def _lenient(visits: pd.DataFrame, week: pd.Series, settings: ArrivalSettings) -> pd.DataFrame:
    """Scores of the lenient reader, given from that week on, times `leniency`."""
    reader = settings.lenient_reader
    read_in = week + (settings.second_reading_after_weeks if reader == 2 else 0)
    column = f"pasi_reader{reader}"
    lowered = (visits[column] * settings.leniency).round(1)
    return visits.assign(**{column: visits[column].mask(_from(read_in, settings.lenient_from_week), lowered)})


def _from(week: pd.Series, first: int | None) -> "pd.Series[bool]":
    return week >= first if first is not None else pd.Series(False, index=week.index)

"""How often a re-audit's rules name a site, device or reader: where one was moved, and where nothing changed.

Simulated trials of several seeds are drawn and measured, three photos a visit at 48 px, without a model. A
look is a week of arrivals (demo: 30, paper: 84 visits) against those before. `no change` deals patients anew
over the weeks, so that there are looks enough to count rare alarms. Readers are judged by their difference
alone, at a third of alpha, as if Holm's correction over the three reader tests did not help it.

    python benchmarks/drift_alarms.py --size demo
    python benchmarks/drift_alarms.py --size paper --seeds 10      # the size of conf/month.yaml's trial
"""

import argparse
import dataclasses
import tempfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from dated_result import write_result

from grasp_ray.monitoring.drift import DriftRule, drift_table
from grasp_ray.monitoring.photo_statistics import STATISTICS, photo_statistics
from grasp_ray.monitoring.readers_over_time import PAIR, READERS, reader_tests, score_scale
from grasp_ray.monitoring.settings import ReauditSettings
from grasp_ray.storage import Storage
from grasp_ray.trial.photos import decode_photo
from grasp_ray.trial.simulate.arrivals import arrival_weeks, arrived
from grasp_ray.trial.simulate.cohort import TrialPlan, plan_trial
from grasp_ray.trial.simulate.render import render_shard
from grasp_ray.trial.simulate.settings import ArrivalSettings, SimulateSettings

WEEKS, PLANTED_WEEK = 4, 3
VIEWS, PHOTO_SIDE_PX = 3, 48
ARRIVALS = ArrivalSettings(
    week=WEEKS,
    weeks=WEEKS,
    first_share=0.6,
    lamp_from_week=PLANTED_WEEK,
    lenient_reader=2,
    lenient_from_week=PLANTED_WEEK,
)


def measured(images: pd.DataFrame) -> pd.DataFrame:
    """The mean statistics of each visit's rendered photos."""
    with tempfile.TemporaryDirectory() as folder:
        storage = Storage.at(folder)
        render_shard(images, storage)
        photos = np.stack(
            [decode_photo(storage.read_bytes(path), PHOTO_SIDE_PX, 64.0) for path in images["path"]]
        )
    table = photo_statistics(photos).assign(visit_id=images["visit_id"].to_numpy())
    return table.groupby("visit_id")[list(STATISTICS)].mean().reset_index()


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A trial's visits with arrival week and statistics."""

    plain: pd.DataFrame
    """Without the lamp."""
    lit: pd.DataFrame
    """With the lamp over those that arrive under it."""
    scores: pd.DataFrame
    """What `reader_tests` takes, with the lenient reader."""


def draw(size: Literal["demo", "paper"], seed: int) -> Drawn:
    """The trial of a seed, rendered and measured."""
    whole = plan_trial(
        SimulateSettings(size=size, seed=seed, views_per_visit=VIEWS, photo_side_px=PHOTO_SIDE_PX)
    )
    plain = arrived(whole, ARRIVALS.model_copy(update={"lamp_from_week": None}))
    lit = arrived(whole, ARRIVALS)
    under_lamp = plain.images["artefact"].to_numpy() != lit.images["artefact"].to_numpy()
    touched = lit.images["visit_id"].isin(lit.images.loc[under_lamp, "visit_id"])
    visits = plain.visits[["visit_id", "patient_id", "site", "device"]]
    week = arrival_weeks(whole.visits, ARRIVALS, seed)
    visits = visits.assign(week=week.to_numpy())
    without = visits.merge(measured(plain.images), on="visit_id")
    changed = visits.merge(measured(lit.images[touched]), on="visit_id")
    others = without[~without["visit_id"].isin(changed["visit_id"])]
    return Drawn(without, pd.concat([others, changed]), scores(whole, week))


def scores(whole: TrialPlan, week: "pd.Series[int]") -> pd.DataFrame:
    """Both readers' scores and the look at which each is first seen; Reader 2's come later."""
    last = ARRIVALS.model_copy(update={"week": WEEKS + ARRIVALS.second_reading_after_weeks})
    visits = arrived(whole, last).visits
    return visits[["patient_id"]].assign(
        expected_class=np.nan,
        x_reader1=score_scale(visits, "reader1"),
        x_reader2=score_scale(visits, "reader2"),
        seen_reader1=week,
        seen_reader2=week + ARRIVALS.second_reading_after_weeks,
    )


def reader_named(readings: pd.DataFrame, week: int, rule: DriftRule) -> bool:
    """Whether the look at this week names a reader, when none before did."""
    known = readings.assign(
        **{f"x_{name}": readings[f"x_{name}"].where(readings[f"seen_{name}"] <= week) for name in READERS}
    )
    tests = reader_tests(known, rule, number=week, reference=range(week))
    return bool(tests.loc[tests["what"] == PAIR, "named"].any())


def named(visits: pd.DataFrame, week: int, rule: DriftRule) -> set[str]:
    """The groups that the look at this week names."""
    old, new = visits[visits["week"] == 0], visits[visits["week"] == week]
    table = drift_table(old, new, STATISTICS, rule)
    return set(table.loc[table["named"], "group"])


def shuffled(visits: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Patients dealt anew over the weeks, as many visits in each week as before, about."""
    patients = visits["patient_id"].unique()
    place = dict(zip(rng.permutation(patients), np.linspace(0, 1, len(patients)), strict=True))
    order = visits["patient_id"].map(place).rank(method="first").to_numpy(int) - 1
    return visits.assign(week=np.sort(visits["week"].to_numpy())[order])


def judged(trials: list[Drawn], rule: DriftRule, reader_rule: DriftRule, permutations: int) -> dict[str, Any]:
    """Shares of trials, and of looks, in which the rules name something."""
    rng = np.random.default_rng(0)
    at_lamp = [named(one.lit, PLANTED_WEEK, rule) for one in trials]
    next_week = [named(one.lit, PLANTED_WEEK + 1, rule) for one in trials]
    lamp = ["site=site-2" in found for found in at_lamp]
    lamp_later = ["site=site-2" in found for found in next_week]
    reader = [reader_named(one.scores, PLANTED_WEEK, reader_rule) for one in trials]
    quiet = [
        bool(named(shuffled(one.plain, rng), week, rule))
        for one in trials
        for _ in range(permutations)
        for week in range(1, WEEKS + 1)
    ]
    quiet_reader = [
        reader_named(one.scores, week, reader_rule) for one in trials for week in range(1, PLANTED_WEEK)
    ]
    return {
        "lamp_named_in_its_week": np.mean(lamp),
        "lamp_named_by_the_next_week": np.mean(np.logical_or(lamp, lamp_later)),
        "others_named_in_its_week": np.mean([bool(found - {"site=site-2"}) for found in at_lamp]),
        "reader_named_in_its_week": np.mean(reader),
        "lamp_and_reader_named": np.mean(np.logical_and(lamp, reader)),
        "no_change_looks": len(quiet),
        "no_change_named": np.mean(quiet),
        "no_change_reader_looks": len(quiet_reader),
        "no_change_reader_named": np.mean(quiet_reader),
    }


def main() -> None:
    """Measure and write one row per rule."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=["demo", "paper"], default="demo")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--permutations", type=int, default=25)
    parser.add_argument("--alphas", type=float, nargs="+", default=[0.01, 0.05])
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    defaults = ReauditSettings()
    trials = []
    for seed in range(1, given.seeds + 1):
        trials.append(draw(given.size, seed))
        print(f"seed {seed}: drawn and measured", flush=True)
    rows = []
    for alpha in given.alphas:
        rule = DriftRule(alpha, defaults.smallest_shift, defaults.fewest_patients)
        reader_rule = DriftRule(alpha / 3, defaults.smallest_reader_shift, defaults.fewest_patients)
        found = judged(trials, rule, reader_rule, given.permutations)
        rows.append({"alpha": alpha} | {name: float(value) for name, value in found.items()})
        print(rows[-1], flush=True)
    write_result("drift_alarms", rows, given.output, size=given.size, seeds=given.seeds)


if __name__ == "__main__":
    main()

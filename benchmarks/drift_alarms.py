"""How often a re-audit's drift rule names a site or device: where a lamp was put, and where nothing changed.

Simulated trials of several seeds (300 visits, three photos each at 48 px) are drawn and measured, without a
model. A look is a week of 30 arrivals against 180 visits. `no change` deals patients anew over the weeks, so
that there are looks enough to count rare alarms.
"""

import argparse
import dataclasses
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from dated_result import write_result

from grasp_ray.monitoring.drift import DriftRule, drift_table
from grasp_ray.monitoring.photo_statistics import STATISTICS, photo_statistics
from grasp_ray.monitoring.settings import ReauditSettings
from grasp_ray.storage import Storage
from grasp_ray.trial.photos import decode_photo
from grasp_ray.trial.simulate.arrivals import arrival_weeks, arrived
from grasp_ray.trial.simulate.cohort import plan_trial
from grasp_ray.trial.simulate.render import render_shard
from grasp_ray.trial.simulate.settings import ArrivalSettings, SimulateSettings

WEEKS, LAMP_WEEK = 4, 3
VIEWS, PHOTO_SIDE_PX = 3, 48


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


def trial(seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Visits with arrival week and statistics: without a lamp, and of the visits under it with it."""
    settings = ArrivalSettings(week=WEEKS, weeks=WEEKS, first_share=0.6, lamp_from_week=LAMP_WEEK)
    size = {"views_per_visit": VIEWS, "photo_side_px": PHOTO_SIDE_PX}
    whole = plan_trial(SimulateSettings(size="demo", seed=seed, **size))
    plain = arrived(whole, settings.model_copy(update={"lamp_from_week": None}))
    lit = arrived(whole, settings)
    under_lamp = plain.images["artefact"].to_numpy() != lit.images["artefact"].to_numpy()
    touched = lit.images["visit_id"].isin(lit.images.loc[under_lamp, "visit_id"])
    visits = plain.visits[["visit_id", "patient_id", "site", "device"]]
    visits = visits.assign(week=arrival_weeks(whole.visits, settings, seed).to_numpy())
    without = visits.merge(measured(plain.images), on="visit_id")
    changed = visits.merge(measured(lit.images[touched]), on="visit_id")
    return without, pd.concat([without[~without["visit_id"].isin(changed["visit_id"])], changed])


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


def main() -> None:
    """Measure and write one row per rule."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--permutations", type=int, default=25)
    parser.add_argument("--alphas", type=float, nargs="+", default=[0.01, 0.05])
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    defaults = ReauditSettings()
    trials = []
    for seed in range(1, arguments.seeds + 1):
        trials.append(trial(seed))
        print(f"seed {seed}: drawn and measured", flush=True)
    rng = np.random.default_rng(0)
    rows = []
    for alpha in arguments.alphas:
        rule = DriftRule(alpha, defaults.smallest_shift, defaults.fewest_patients)
        at_lamp = [named(lit, LAMP_WEEK, rule) for _, lit in trials]
        after = [named(lit, LAMP_WEEK, rule) | named(lit, LAMP_WEEK + 1, rule) for _, lit in trials]
        quiet = [
            named(shuffled(plain, rng), week, rule)
            for plain, _ in trials
            for _ in range(arguments.permutations)
            for week in range(1, WEEKS + 1)
        ]
        rows.append(
            {
                "rule": dataclasses.asdict(rule),
                "lamp_named_in_its_week": float(np.mean(["site=site-2" in found for found in at_lamp])),
                "lamp_named_by_the_next_week": float(np.mean(["site=site-2" in found for found in after])),
                "others_named_in_its_week": float(
                    np.mean([bool(found - {"site=site-2"}) for found in at_lamp])
                ),
                "no_change_looks": len(quiet),
                "no_change_named": float(np.mean([bool(found) for found in quiet])),
            }
        )
        print(rows[-1], flush=True)
    write_result(
        "drift_alarms", rows, arguments.output, seeds=arguments.seeds, permutations=arguments.permutations
    )


if __name__ == "__main__":
    main()

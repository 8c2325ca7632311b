"""Decode a trial's photos into the run's photo store, and render simulated ones, shard by shard."""

import json
from functools import partial

import pandas as pd

from grasp_ray.on_ray.shards import Shard, ShardFunction, Workers, map_shards
from grasp_ray.storage import Storage
from grasp_ray.trial.photo_store import write_photo_shard
from grasp_ray.trial.problems import problem_frame
from grasp_ray.trial.settings import TrialSettings
from grasp_ray.trial.simulate.cohort import TrialPlan
from grasp_ray.trial.simulate.render import render_shard
from grasp_ray.trial.simulate.settings import SimulateSettings

RENDERED_PER_SHARD = 64


def decode_photos(
    trial: Storage, run: Storage, manifest: pd.DataFrame, settings: TrialSettings, workers: Workers
) -> pd.DataFrame:
    """Decode every photo of the manifest once; return a frame of the photos that could not be used."""
    sizes = manifest.groupby("photo_shard").size()
    shards = [Shard(str(shard), int(count)) for shard, count in sizes.items()]
    make = partial(_photo_decoder, trial, run, manifest, settings)
    outcomes = map_shards(make, shards, workers=workers, what="decode photos")
    problems = [row for name in sorted(outcomes, key=int) for row in json.loads(outcomes[name])]
    return problem_frame(problems)


def _photo_decoder(
    trial: Storage, run: Storage, manifest: pd.DataFrame, settings: TrialSettings
) -> ShardFunction:
    rows_of = {str(shard): rows for shard, rows in manifest.groupby("photo_shard")}

    def decode(name: str) -> str:
        problems = write_photo_shard(trial, run, rows_of[name], settings)
        return str(problems.to_json(orient="records"))

    return decode


def render_photos(plan: TrialPlan, trial: Storage, settings: SimulateSettings, workers: Workers) -> None:
    """Render every photo and mask of a simulated trial into the trial's folder."""
    edges = range(0, len(plan.images), RENDERED_PER_SHARD)
    parts = {str(low): plan.images.iloc[low : low + RENDERED_PER_SHARD] for low in edges}
    shards = [Shard(name, len(rows)) for name, rows in parts.items()]
    make = partial(_photo_renderer, parts, trial, settings)
    map_shards(make, shards, workers=workers, what="render photos")


def _photo_renderer(
    parts: dict[str, pd.DataFrame], trial: Storage, settings: SimulateSettings
) -> ShardFunction:
    def render(name: str) -> str:
        render_shard(parts[name], trial, settings)
        return ""

    return render

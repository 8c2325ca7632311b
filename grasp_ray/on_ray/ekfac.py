"""Fit the factors that influence.precondition=ekfac needs, one checkpoint per unit of work."""

import logging
import time
from functools import partial

import numpy as np
import pandas as pd

from grasp_ray.influence.ekfac import EkfacFactors
from grasp_ray.influence.replay import fit_checkpoint_ekfac
from grasp_ray.on_ray.replay_plan import ReplayPlan, visit_batches
from grasp_ray.on_ray.shards import Shard, ShardFunction, Workers, map_shards
from grasp_ray.training.replay_checkpoint import load_checkpoint
from grasp_ray.trial.photo_store import PhotoStore

log = logging.getLogger(__name__)


def factors_name(checkpoint_name: str) -> str:
    """The file of a checkpoint's factors in the replay's output."""
    return f"ekfac/{checkpoint_name}.safetensors"


def fitting_rows(manifest: pd.DataFrame, images: int) -> pd.DataFrame:
    """Whole visits drawn with a fixed seed, the first ones that hold at least `images` photos."""
    sizes = manifest.groupby("visit_id").size().sort_index()
    drawn = sizes.iloc[np.random.default_rng(0).permutation(len(sizes))]
    before = drawn.cumsum() - drawn
    return manifest[manifest["visit_id"].isin(drawn.index[before < images])]


def fit_missing_factors(plan: ReplayPlan, *, workers: Workers) -> None:
    """Fit and store the factors of the checkpoints that have none, all on the same photos; log the cost.

    Nothing happens under another precondition than `ekfac`.
    """
    if plan.influence.precondition != "ekfac":
        return
    rows = fitting_rows(plan.manifest, plan.influence.ekfac_images)
    waiting = [
        Shard(name, len(rows)) for name in plan.checkpoint_names if not plan.output.exists(factors_name(name))
    ]
    seconds = map_shards(partial(_fitter, plan, rows), waiting, workers=workers, what="fit EK-FAC")
    for name in sorted(seconds):
        log.info("EK-FAC of %s: fitted on %d photos in %s s", name, len(rows), seconds[name])


def load_factors(plan: ReplayPlan, checkpoint_name: str) -> EkfacFactors | None:
    """What `fit_missing_factors` stored for a checkpoint; None under another precondition than `ekfac`."""
    if plan.influence.precondition != "ekfac":
        return None
    return EkfacFactors.load(plan.output, factors_name(checkpoint_name))


def _fitter(plan: ReplayPlan, rows: pd.DataFrame) -> ShardFunction:
    store = PhotoStore(plan.run)
    images = plan.influence.images_per_batch
    assert images != "auto", "resolved before"

    def fit(name: str) -> str:
        started = time.monotonic()
        checkpoint = load_checkpoint(plan.checkpoints, name)
        batches = partial(visit_batches, rows, store, images)
        factors = fit_checkpoint_ekfac(plan.untrained_model(), checkpoint, plan.influence, batches)
        factors.save(plan.output, factors_name(name))
        return f"{time.monotonic() - started:.1f}"

    return fit

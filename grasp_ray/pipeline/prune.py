"""Step: remove the most harmful images, and the most suspect visits, and retrain, beside controls."""

import logging
from typing import cast

import pandas as pd

from grasp_ray.config import AuditConfig
from grasp_ray.errors import RunConflictError
from grasp_ray.evaluation.arm_names import INFLUENCE, SUSPECTS, control_of, removal_of
from grasp_ray.pipeline.arms import baseline_arms, pruned_arms, seeds, train_and_predict
from grasp_ray.pipeline.run_folder import INFLUENCE as INFLUENCE_TABLE
from grasp_ray.pipeline.run_folder import QUERIES, REMOVAL_SUMMARY, ArmName, RunFolder
from grasp_ray.pipeline.run_record import write_run_record
from grasp_ray.pruning.controls import control_removal
from grasp_ray.pruning.flaggers import flag, label_flagger
from grasp_ray.pruning.ranking import harm_ranks
from grasp_ray.pruning.removal import removal, removal_summary
from grasp_ray.pruning.settings import Control
from grasp_ray.pruning.suspects import suspect_control, suspect_removal, suspect_summary
from grasp_ray.training.arm import DYNAMICS

log = logging.getLogger(__name__)

Removals = dict[tuple[str, int], pd.DataFrame]
"""What leaves, by removal arm and k (or percent)."""


def prune(config: AuditConfig) -> None:
    """Write removals/…, removal_summary.parquet, and train and predict every pruned arm."""
    run = RunFolder.of(config)
    removals = _influence_removals(config, run) | _suspect_removals(config, run)
    removed = {name: _removed_ids(config, run, name, removals) for name in pruned_arms(config)}
    train_and_predict(config, run, removed)
    write_run_record(run, config)


def _influence_removals(config: AuditConfig, run: RunFolder) -> Removals:
    """The photos that leave at every k; writes them and removal_summary.parquet."""
    manifest = run.manifest()
    queries = run.table(QUERIES, made_by="score")
    if queries.empty:
        raise RunConflictError(
            "no validation visit is misclassified, so there is nothing to trace or remove. Set "
            "influence.query_visits=all to trace every validation visit."
        )
    rule = config.prune.harmful_rule(config.influence.query_label)
    influence = run.table(INFLUENCE_TABLE, made_by="score")
    ranks = harm_ranks(influence, rule, deepest_rank=max(config.prune.ks))
    removals = {
        k: removal(ranks, manifest, k=k, empty_visit=config.prune.empty_visit) for k in config.prune.ks
    }
    for k, removed in removals.items():
        run.storage.write_table(run.removal_name(k), removed)
    summary = removal_summary(ranks, manifest, removals, list(queries["query_id"]))
    run.storage.write_table(REMOVAL_SUMMARY, summary)
    for row in summary.to_dict("records"):
        log.info("k=%(k)d: %(listed)d listed, %(unique)d unique, %(removed)d removed", row)
    return {(INFLUENCE, k): removed for k, removed in removals.items()}


def _suspect_removals(config: AuditConfig, run: RunFolder) -> Removals:
    """The photos of the most suspect visits at every percent; writes them, and adds to the summary."""
    manifest = run.manifest()
    influence = run.table(INFLUENCE_TABLE, made_by="score")
    flagger = label_flagger(config.prune.flagger, influence)
    dynamics = run.table(f"{baseline_arms(config)[0].folder}/{DYNAMICS}", made_by="train")
    scores = flag(flagger, dynamics=dynamics, influence=influence)
    removals = {
        percent: suspect_removal(scores, manifest, percent=percent, flagger=flagger)
        for percent in config.prune.suspect_percents
    }
    for percent, removed in removals.items():
        run.storage.write_table(run.suspects_name(percent), removed)
        visits = removed["visit_id"].nunique()
        log.info("%d %% most suspect by %s: %d visits, %d photos", percent, flagger, visits, len(removed))
    summary = pd.concat([run.storage.read_table(REMOVAL_SUMMARY), suspect_summary(removals, manifest)])
    run.storage.write_table(REMOVAL_SUMMARY, summary.reset_index(drop=True))
    return {(SUSPECTS, percent): removed for percent, removed in removals.items()}


def _removed_ids(config: AuditConfig, run: RunFolder, name: ArmName, removals: Removals) -> tuple[str, ...]:
    """The photos that an arm does without; every seed of a control draws its own."""
    removed = removals[removal_of(name.arm), name.k]
    control = cast(Control, control_of(name.arm))
    if control:
        seed = config.prune.control_seed + seeds(config).index(name.seed)
        if removal_of(name.arm) == SUSPECTS:
            removed = suspect_control(control, removed, run.manifest(), percent=name.k, control_seed=seed)
        else:
            empty_visit = config.prune.empty_visit
            removed = control_removal(
                control, removed, run.manifest(), k=name.k, control_seed=seed, empty_visit=empty_visit
            )
        run.storage.write_table(run.removal_name(name.k, name), removed)
    return tuple(removed.loc[removed["kept_because"] == "", "image_id"])

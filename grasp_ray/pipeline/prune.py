"""Step: remove the most harmful images and retrain, beside controls of the same size."""

import logging

import pandas as pd

from grasp_ray.config import AuditConfig
from grasp_ray.errors import RunConflictError
from grasp_ray.pipeline.arms import pruned_arms, seeds, train_and_predict
from grasp_ray.pipeline.run_folder import INFLUENCE, QUERIES, REMOVAL_SUMMARY, ArmName, RunFolder
from grasp_ray.pipeline.run_record import write_run_record
from grasp_ray.pruning.controls import control_removal
from grasp_ray.pruning.ranking import harm_ranks
from grasp_ray.pruning.removal import removal, removal_summary

log = logging.getLogger(__name__)


def prune(config: AuditConfig) -> None:
    """Write removals/…, removal_summary.parquet, and train and predict every pruned arm."""
    run = RunFolder.of(config)
    removals = _influence_removals(config, run)
    removed = {name: _removed_ids(config, run, name, removals) for name in pruned_arms(config)}
    train_and_predict(config, run, removed)
    write_run_record(run, config)


def _influence_removals(config: AuditConfig, run: RunFolder) -> dict[int, pd.DataFrame]:
    manifest = run.manifest()
    queries = run.table(QUERIES, made_by="score")
    if queries.empty:
        raise RunConflictError(
            "no validation visit is misclassified, so there is nothing to trace or remove. Set "
            "influence.query_visits=all to trace every validation visit."
        )
    rule = config.prune.harmful_rule(config.influence.query_label)
    influence = run.table(INFLUENCE, made_by="score")
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
    return removals


def _removed_ids(
    config: AuditConfig, run: RunFolder, name: ArmName, removals: dict[int, pd.DataFrame]
) -> tuple[str, ...]:
    """The photos that an arm does without; every seed of a control draws its own."""
    removed = removals[name.k]
    if name.arm != "influence":
        removed = control_removal(
            name.arm,  # type: ignore[arg-type]  # one of config.prune.controls
            removed,
            run.manifest(),
            k=name.k,
            control_seed=config.prune.control_seed + seeds(config).index(name.seed),
            empty_visit=config.prune.empty_visit,
        )
        run.storage.write_table(run.removal_name(name.k, name), removed)
    return tuple(removed.loc[removed["kept_because"] == "", "image_id"])

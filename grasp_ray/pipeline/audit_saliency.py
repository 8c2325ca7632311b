"""Step: the saliency audit of a trained run.

runs/<name>/audits/saliency/agreement.parquet   a row per image: IoU, …, lift, completeness_gap, note
                            strata.parquet      means with patient bootstrap: class × correct, skin type, …
                            randomised.parquet  maps under random weights against the trained ones
                            maps.parquet        the maps, thinned, as bytes
                            skipped.parquet     images without a usable mask, by name
"""

from functools import partial

import numpy as np
import pandas as pd

from grasp_ray.audits.masked_bags import MaskedBags
from grasp_ray.audits.saliency_pass import RandomisedTwin, saliency_tables
from grasp_ray.audits.saliency_table import agreement_strata
from grasp_ray.audits.settings import SaliencySettings
from grasp_ray.config import AuditConfig
from grasp_ray.mil.model import MILModel
from grasp_ray.on_ray.audits import AuditedVisits, explain_visits
from grasp_ray.on_ray.workers import gpu_workers
from grasp_ray.pipeline.audited_run import (
    AUDITS,
    audit_identity,
    audited_arm,
    audited_visits,
    visit_facts,
)
from grasp_ray.pipeline.flagged import flagged_visits
from grasp_ray.pipeline.run_folder import RunFolder
from grasp_ray.pipeline.verdict import publish_verdict

SALIENCY = f"{AUDITS}/saliency"
VISITS_PER_SHARD = 8


def audit_saliency(config: AuditConfig) -> None:
    """Write audits/saliency/…, then bring the verdict page up to date."""
    run = RunFolder.of(config)
    settings = audit_identity(config, run, config.saliency.model_dump(mode="json"))
    with run.step("audit_saliency", settings) as must_run:
        if must_run:
            _audit(config, run)
    publish_verdict(config, run)


def _audit(config: AuditConfig, run: RunFolder) -> None:
    settings = config.saliency
    held_out = audited_visits(config, run, settings.splits, VISITS_PER_SHARD)
    chosen = chosen_visits(held_out.manifest, settings.max_visits, settings.seed)
    randomised = chosen_visits(chosen, settings.randomised_visits, settings.seed)
    found = _explain(config, run, held_out, chosen, frozenset(randomised["visit_id"]), "parts")
    facts = visit_facts(run)
    strata = agreement_strata(
        found["agreement"],
        facts,
        config.model.class_names,
        draws=config.evaluate.bootstrap_draws,
        seed=settings.seed,
        confidence=config.evaluate.confidence,
    )
    flagged = flagged_visits(run, settings.flagged_visits, settings.seed)
    if len(flagged):
        training = _explain(config, run, held_out, flagged, frozenset(), "flagged_parts")
        run.storage.write_table(f"{SALIENCY}/training_agreement.parquet", training["agreement"])
    for name, table in (found | {"strata": strata}).items():
        run.storage.write_table(f"{SALIENCY}/{name}.parquet", table.drop(columns="model", errors="ignore"))
    run.storage.remove(f"{SALIENCY}/parts")
    run.storage.remove(f"{SALIENCY}/flagged_parts")


def _explain(
    config: AuditConfig,
    run: RunFolder,
    visits: AuditedVisits,
    rows: pd.DataFrame,
    randomised: frozenset[str],
    folder: str,
) -> dict[str, pd.DataFrame]:
    settings = config.saliency
    twin = RandomisedTwin(config.model, config.trial.image_side_px, settings.seed, randomised)
    return explain_visits(
        AuditedVisits(run.storage, visits.trial, rows, visits.visits_per_shard),
        {"trained": run.storage.child(audited_arm(config))},
        run.storage.child(f"{SALIENCY}/{folder}"),
        partial(_tables_of, settings=settings, twin=twin),
        workers=gpu_workers(config.cluster),
        what="explain visits",
    )


def _tables_of(
    model: MILModel, masked: MaskedBags, *, settings: SaliencySettings, twin: RandomisedTwin
) -> dict[str, pd.DataFrame]:
    return saliency_tables(model, masked, settings, twin)


def chosen_visits(rows: pd.DataFrame, most: int, seed: int) -> pd.DataFrame:
    """The rows of at most `most` visits, in equal numbers per class as far as there are, chosen by `seed`."""
    visits = rows.drop_duplicates("visit_id").sort_values("visit_id")
    order = visits.iloc[np.random.default_rng([seed, 5]).permutation(len(visits))]
    turn = order.groupby("label").cumcount()
    kept = order.assign(turn=turn).sort_values(["turn", "label"], kind="stable").head(most)
    return rows[rows["visit_id"].isin(kept["visit_id"])]

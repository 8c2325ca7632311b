"""What the decisions in force make of the trial's tables. In memory: the trial itself is never written to.

    exclude_image   the photo leaves
    retake          the photo (or every photo of the visit that was looked at) stays out as long as its file
                    is the one that was looked at; a new file, or a photo under a new id, comes in
    new_pasi        takes the place of reader 1's PASI, and of reader 1's class where the trial has one
    keep            nothing; it ends what an earlier decision on the same photo or visit had begun

A visit that is left without a photo leaves too. Patients keep the split they had before.
"""

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import pandas as pd

from grasp_ray.errors import LedgerError
from grasp_ray.review.ledger import Decision, Ledger
from grasp_ray.trial.pasi import pasi_class
from grasp_ray.trial.settings import TrialSettings
from grasp_ray.trial.splits import assign_splits, visit_labels
from grasp_ray.trial.tables import TrialTables

log = logging.getLogger(__name__)

Hashes = Callable[[Collection[str]], "pd.Series[str]"]
"""SHA-256 of the trial's photo files now, by image id; '' for a missing file (`photo_files.photo_hashes`)."""

APPLIED_COLUMNS = {
    "decision_id": "str", "visit_id": "str", "image_id": "str", "decision": "str", "value": "float64",
    "reviewer": "str", "decided_at": "str", "comment": "str", "effect": "str", "left_out": "str",
}  # fmt: skip
"""decisions.parquet: a row per decision in force. `effect`: what it did to this manifest; `left_out`: photos
that are not in it for this decision, comma-separated."""


@dataclass(frozen=True)
class Decided:
    """The trial's tables under the decisions in force, and what was done to them."""

    tables: TrialTables
    applied: pd.DataFrame
    """APPLIED_COLUMNS, ascending by visit and photo."""
    before: pd.DataFrame
    """Visits with a new PASI: visit_id, label_before, pasi_before."""

    @classmethod
    def untouched(cls, tables: TrialTables) -> "Decided":
        """Tables without any decision."""
        before = pd.DataFrame(columns=["visit_id", "label_before", "pasi_before"])
        return cls(tables, pd.DataFrame(columns=list(APPLIED_COLUMNS)), before)

    def marked(self, manifest: pd.DataFrame) -> pd.DataFrame:
        """The manifest with decision_ids (all of the row's visit), label_before and pasi_before.

        As it is when no decision is in force, so that a trial without decisions keeps its manifest's hash.
        """
        if self.applied.empty:
            return manifest
        ids = self.applied.groupby("visit_id")["decision_id"].agg(",".join)
        marked = manifest.assign(decision_ids=manifest["visit_id"].map(ids).astype("str"))
        before = self.before.set_index("visit_id")
        return marked.assign(
            label_before=marked["visit_id"].map(before["label_before"]).astype("Int64"),
            pasi_before=marked["visit_id"].map(before["pasi_before"]).astype("float64"),
        )


def apply_decisions(tables: TrialTables, ledger: Ledger, settings: TrialSettings, hashes: Hashes) -> Decided:
    """Apply the decisions in force to tables that pass the check.

    Raises `LedgerError` when no decision is about a visit of this trial.
    """
    in_force = ledger.in_force()
    if not in_force:
        return Decided.untouched(tables)
    visits, images = tables.visits.copy(), tables.images
    _require_this_trial(in_force, visits)
    if "split" not in visits:
        visits["split"] = assign_splits(visits, settings.split_fractions, settings.split_seed)
    out = _left_out(in_force, images, hashes)
    before = _new_readings(in_force, visits)
    applied = pd.DataFrame(
        [_applied_row(decision_id, one, visits, out) for decision_id, one in in_force],
        columns=list(APPLIED_COLUMNS),
    ).astype(APPLIED_COLUMNS)
    kept = images[~images["image_id"].isin(out)].reset_index(drop=True)
    left = visits["visit_id"].isin(kept["visit_id"])
    if not left.all():
        log.warning("decisions: no photo is left of %s", ", ".join(visits.loc[~left, "visit_id"]))
        visits = visits[left].reset_index(drop=True)
    return Decided(TrialTables(visits, kept), applied, before)


def _require_this_trial(in_force: list[tuple[str, Decision]], visits: pd.DataFrame) -> None:
    known = set(visits["visit_id"])
    strangers = sorted({decision.visit_id for _, decision in in_force} - known)
    if strangers and len(strangers) == len({decision.visit_id for _, decision in in_force}):
        raise LedgerError(
            f"none of the {len(strangers)} visits in the ledger of decisions is in this trial (first: "
            f"{strangers[0]}): trial.decisions names another trial's ledger."
        )
    if strangers:
        log.warning("decisions: %d visits left the trial (first: %s)", len(strangers), strangers[0])


def _left_out(in_force: list[tuple[str, Decision]], images: pd.DataFrame, hashes: Hashes) -> set[str]:
    """Photos that are out: excluded, or waiting to be taken again."""
    here = set(images["image_id"])
    out = {one.image_id for _, one in in_force if one.decision == "exclude_image"} & here
    seen = {
        image_id: digest
        for _, one in in_force
        if one.decision == "retake"
        for image_id, digest in one.photos.items()
        if image_id in here
    }
    now = hashes(sorted(seen))
    return out | {image_id for image_id, digest in seen.items() if now[image_id] in ("", digest)}


def _new_readings(in_force: list[tuple[str, Decision]], visits: pd.DataFrame) -> pd.DataFrame:
    """Put each new PASI into `visits`; return what was there: visit_id, label_before, pasi_before."""
    given = {one.visit_id: one for _, one in in_force if one.decision == "new_pasi"}
    concerned = visits["visit_id"].isin(given)
    if "pasi_reader1" not in visits:
        visits["pasi_reader1"] = float("nan")
    before = pd.DataFrame(
        {
            "visit_id": visits.loc[concerned, "visit_id"],
            "label_before": visit_labels(visits)[concerned],
            "pasi_before": visits.loc[concerned, "pasi_reader1"],
        }
    ).reset_index(drop=True)
    for visit_id, was in zip(before["visit_id"], before["pasi_before"], strict=True):
        seen = given[visit_id].pasi_before
        if seen is not None and seen != was:
            log.warning(
                "decisions: reader 1's PASI of %s is %g now, was %g when decided on", visit_id, was, seen
            )
    new = {visit_id: one.value for visit_id, one in given.items()}
    values = visits.loc[concerned, "visit_id"].map(new).astype("float64")
    visits.loc[concerned, "pasi_reader1"] = values
    if "class_reader1" in visits:
        visits.loc[concerned, "class_reader1"] = pasi_class(values.to_numpy())
    return before


def _applied_row(decision_id: str, one: Decision, visits: pd.DataFrame, out: set[str]) -> dict[str, Any]:
    given = ("visit_id", "image_id", "decision", "value", "reviewer", "decided_at", "comment")
    gone = sorted(set(one.photos) & out) if one.decision in ("exclude_image", "retake") else []
    here = one.visit_id in set(visits["visit_id"])
    return {
        "decision_id": decision_id,
        **{name: getattr(one, name) for name in given},
        "effect": _effect(one, len(gone)) if here else "none: the visit left the trial",
        "left_out": ",".join(gone),
    }


def _effect(one: Decision, gone: int) -> str:
    if one.decision == "keep":
        return "kept"
    if one.decision == "new_pasi":
        return (
            f"PASI {one.value:g} instead of {'none' if one.pasi_before is None else f'{one.pasi_before:g}'}"
        )
    if one.decision == "exclude_image":
        return "left out" if gone else "none: the photo left the trial"
    return f"{gone} of {len(one.photos)} photos wait for a new one"

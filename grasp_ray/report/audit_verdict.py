"""What the audits say, in plain sentences: each with its number and interval, and what it rests on.

A conclusion that its evidence cannot carry is `blocked` or `unclear`, never rounded up.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd

from grasp_ray.audits.masking_table import FULL, LESION_AREA
from grasp_ray.audits.saliency_table import RandomisationCheck
from grasp_ray.evaluation.groups import SKIN_TYPE_RANGES
from grasp_ray.report.formats import interval, number, p_value

Status = Literal["shortcut", "lesion", "unclear", "blocked", "not_known", "measured"]
"""`shortcut`: something else is read. `lesion`: no sign of it. `blocked`: the method failed its own check.
`measured`: a comparison that says nothing of a shortcut."""

CHANCE = 0.5
LINKED_BELOW = 0.01
"""p of an artefact's link to a class in training from which it can be what the model learnt."""


@dataclass(frozen=True)
class Finding:
    """The answer of one audit."""

    audit: Literal["artefacts", "masking", "saliency", "supervision", "influence"]
    status: Status
    sentence: str
    rests_on: str
    image_ids: list[str] = field(default_factory=list)
    """Images to look at."""
    visit_ids: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Verdict:
    """All findings and the one line above them."""

    status: Status
    title: str
    findings: list[Finding]


def judge(findings: Sequence[Finding]) -> Verdict:
    """The headline: an artefact that is read is a shortcut; else what masking and saliency say together."""
    by_audit = {finding.audit: finding for finding in findings}
    states = {audit: finding.status for audit, finding in by_audit.items()}
    if states.get("artefacts") == "shortcut":
        return Verdict("shortcut", "The model takes a shortcut: it reads a capture artefact.", list(findings))
    if states.get("artefacts") == "unclear":
        title = "A capture artefact disturbs the model, though it tells nothing in training."
        return Verdict("unclear", title, list(findings))
    elsewhere = [audit for audit in ("masking", "saliency") if states.get(audit) == "shortcut"]
    looks = [audit for audit in ("masking", "saliency") if states.get(audit) == "lesion"]
    if elsewhere and states.get("artefacts") == "lesion":
        title = "The model reads more than the lesion, but none of the annotated artefacts."
        return Verdict("unclear", title, list(findings))
    if elsewhere:
        return Verdict(
            "unclear", "The model reads more than the lesion; what, is not annotated.", list(findings)
        )
    if looks and states.get("artefacts") in ("lesion", None, "not_known"):
        return Verdict(
            "lesion",
            "No shortcut was found in what was tested: the model depends on the lesion.",
            list(findings),
        )
    if states.get("artefacts") == "lesion":
        return Verdict("lesion", "The model is not seen to read an annotated artefact.", list(findings))
    return Verdict("unclear", "The audits leave open what the model reads.", list(findings))


def with_interval(value: Any, low: Any, high: Any, *, signed: bool = False) -> str:
    """`.81 [.74, .88]`; `+.05 [−.02, +.11]` when signed; the value alone without bounds."""
    bounds = interval(low, high, 2, zero=False, signed=signed)
    return f"{_short(value, signed)} {bounds}".rstrip()


def _short(value: Any, signed: bool = False) -> str:
    return number(value, 2, zero=False, signed=signed)


def artefact_finding(table: pd.DataFrame, alpha: float, carriers: dict[str, list[str]]) -> Finding:
    """Which annotated artefacts the model reads: aligned against robust AUROC, Holm over all of them.

    `carriers` lists visits to look at per artefact. An artefact that could not be tested is named.
    """
    audit: Literal["artefacts"] = "artefacts"
    if table.empty:
        return Finding(
            audit, "not_known",
            "No capture artefact is annotated, so whether the model reads one cannot be tested directly.",
            "artefact_… columns of the images table: there are none, or no visit has one",
        )  # fmt: skip
    tested = table[table["p_holm"].notna()]
    if tested.empty:
        return Finding(
            audit, "not_known",
            f"No annotated artefact could be tested: {table.iloc[0]['artefact']}, {table.iloc[0]['note']}.",
            f"{table['artefact'].nunique()} artefacts, all with too few visits",
        )  # fmt: skip
    read = tested[tested["p_holm"] < alpha]
    rests = (
        f"{tested['visits'].iloc[0]} held-out visits; {len(tested)} artefacts tested, each for the class it "
        f"goes with in training (DeLong by patient, Holm at {alpha:g}){_untested(table)}"
    )
    if read.empty:
        return Finding(audit, "lesion", _widest_gap(tested), rests)
    led = read[(read["link_p"] < LINKED_BELOW) & (read["link"] * read["gap"] > 0)]
    worst = (read if led.empty else led).sort_values("gap", key=abs).iloc[-1]
    robust = with_interval(worst["robust"], worst["robust_low"], worst["robust_high"])
    sign = "a sign of" if worst["gap"] > 0 else "a sign against"
    numbers = f"AUROC {_short(worst['aligned'])} where the two go together, {robust} where they do not"
    visit_ids = carriers.get(str(worst["artefact"]), [])[:8]
    if led.empty:
        sentence = (
            f"{worst['artefact']} disturbs the answer: it works as {sign} {worst['class_name']} ({numbers}), "
            "though training gives no reason for that."
        )
        return Finding(audit, "unclear", sentence, rests, visit_ids=visit_ids)
    names = ", ".join(dict.fromkeys(led["artefact"].astype(str)))
    sentence = (
        f"The model takes {worst['artefact']} for {sign} {worst['class_name']}, as training suggests: "
        f"{numbers}. Read: {names}."
    )
    return Finding(audit, "shortcut", sentence, rests, visit_ids=visit_ids)


def _widest_gap(tested: pd.DataFrame) -> str:
    """What is said when no artefact passes the level: the widest gap, and that it may still be one."""
    widest = tested.sort_values("gap", key=abs).iloc[-1]
    gap = with_interval(widest["gap"], widest["gap_low"], widest["gap_high"], signed=True)
    found = f"{gap} ({widest['artefact']}, {widest['class_name']}; {p_value(widest['p_holm'])} after Holm)"
    if widest["gap_low"] > 0 or widest["gap_high"] < 0:
        return (
            f"No annotated artefact is shown to be read, but one may be: the largest gap between aligned and "
            f"robust AUROC is {found}; more visits would tell."
        )
    return (
        "No annotated artefact moves the answer measurably: the largest gap between aligned and robust AUROC "
        f"is {found}."
    )


def _untested(table: pd.DataFrame) -> str:
    """The artefacts whose class could not be tested, with the reason; '' when there are none."""
    left = table[table["linked"] & table["p_holm"].isna()].to_dict("records")
    named = [f"{row['artefact']} for {row['class_name']} ({row['note']})" for row in left]
    return f"; not tested: {', '.join(named)}" if named else ""


def masking_finding(
    table: pd.DataFrame, baselines: pd.DataFrame, skipped: int, visit_ids: Sequence[str]
) -> Finding:
    """What is left of the AUC when the lesion's box is hidden, and whether the box's size may explain it."""
    audit: Literal["masking"] = "masking"
    rows = {str(row["view"]): row for row in table.to_dict("records")}
    full, hidden, only = rows[FULL], rows["no_roi_box"], rows["only_roi"]
    rests = f"{full['visits']} visits; the box hides {100 * hidden['hidden_share']:.0f} % of the pixels"
    rests += f"; {skipped} images without a usable mask left out" if skipped else ""
    if np.isnan(full["auc"]):
        return Finding(audit, "not_known", f"No AUC: {full['note']}.", rests)
    reach = with_interval(hidden["auc"], hidden["low"], hidden["high"])
    whole = with_interval(full["auc"], full["low"], full["high"])
    lesion = with_interval(only["auc"], only["low"], only["high"])
    if full["low"] <= CHANCE:
        sentence = f"The model does not classify these visits at all: AUC {whole}."
        return Finding(audit, "unclear", sentence, rests)
    if hidden["low"] <= CHANCE and hidden["difference_high"] >= 0:
        sentence = f"Too few visits to tell: AUC {reach} without the lesion's box, {whole} with it."
        return Finding(audit, "unclear", sentence, rests)
    if hidden["low"] <= CHANCE:
        sentence = (
            f"Without the lesion's box the AUC falls from {whole} to {reach}, which chance can explain; with "
            f"the lesion alone it is {lesion}."
        )
        return Finding(audit, "lesion", sentence, rests)
    area = baselines.loc[baselines["features"] == LESION_AREA, "auc"].max()
    kept = f"Without the lesion's box the model still reaches AUC {reach} of {whole}"
    if area >= hidden["auc"]:
        sentence = (
            f"{kept}; the size of the hidden box can explain that, since the lesion's area alone reaches "
            f"{_short(area)}. With the lesion alone it reaches {lesion}."
        )
        return Finding(audit, "unclear", sentence, rests, visit_ids=list(visit_ids))
    sentence = f"{kept}: it reads something else too. With the lesion alone it reaches {lesion}."
    return Finding(audit, "shortcut", sentence, rests, visit_ids=list(visit_ids))


def saliency_finding(
    strata: pd.DataFrame, check: RandomisationCheck, survives_at: float, image_ids: Sequence[str]
) -> Finding:
    """Whether a pixel of the lesion carries more of the attribution than one beside it."""
    audit: Literal["saliency"] = "saliency"
    overall = strata[strata["stratum"] == "all"].set_index("metric")
    lift = overall.loc["lift"]
    if not lift["images"]:
        return Finding(audit, "not_known", "No image has a lift.", "0 images")
    number = with_interval(lift["value"], lift["low"], lift["high"])
    auroc = overall.loc["pixel_auroc", "value"]
    rests = f"{lift['images']:.0f} images of {lift['patients']:.0f} patients, integrated gradients in the bag"
    if check.rank_correlation is None:
        return Finding(
            audit, "blocked", f"Lift {number}, but no map could be compared with random weights.", rests
        )
    said = f"rank correlation with maps under random weights {_short(check.rank_correlation)}"
    rests += f"; {said} on {check.images} images"
    if check.survives:
        sentence = (
            f"No conclusion: the maps hardly change when all weights are random ({said}, limit "
            f"{_short(survives_at)}), so they show the photo and not the model."
        )
        return Finding(audit, "blocked", sentence, rests, image_ids=list(image_ids))
    detail = f"{number} times its share of the area (random weights: {_short(check.random_lift or 0.0)})"
    sentence = f"The lesion gets {detail}; a lesion pixel outranks another with probability {_short(auroc)}."
    sentence += _by_skin_type(strata)
    status: Status = "lesion" if lift["low"] > 1 else "shortcut" if lift["high"] < 1 else "unclear"
    if np.isnan(lift["low"]):
        status = "unclear"
    return Finding(audit, status, sentence, rests, image_ids=list(image_ids))


def _by_skin_type(strata: pd.DataFrame) -> str:
    """The lift on lighter and on darker skin, where the trial has both; '' otherwise."""
    lifts = strata[(strata["metric"] == "lift") & strata["low"].notna()].set_index("stratum")
    ranges = [name for name in SKIN_TYPE_RANGES if f"skin_type={name}" in lifts.index]
    if len(ranges) < 2:
        return ""
    rows = [lifts.loc[f"skin_type={name}"] for name in ranges]
    said = [
        f"{with_interval(row['value'], row['low'], row['high'])} on skin types {name.replace('-', '–')}"
        for name, row in zip(ranges, rows, strict=True)
    ]
    return f" By skin: {', '.join(said)}."


def supervision_finding(means: pd.DataFrame) -> Finding:
    """Robust AUROC of location models, coarse to fine, for the artefact with the widest gap under `visit`."""
    audit: Literal["supervision"] = "supervision"
    gaps = means[(means["measure"] == "gap") & means["value"].notna()]
    if gaps.empty:
        return Finding(
            audit, "not_known", "No artefact could be tested on location models.", "too few visits"
        )
    coarse = gaps[gaps["supervision"] == "visit"]
    widest = (coarse if len(coarse) else gaps).sort_values("value").iloc[-1]
    same = (means["artefact"] == widest["artefact"]) & (means["label"] == widest["label"])
    robust = means[same & (means["measure"] == "robust")].set_index("supervision")
    parts = [
        f"{name} {with_interval(row['value'], row['low'], row['high'])}" for name, row in robust.iterrows()
    ]
    ordered = robust["value"].tolist() == sorted(robust["value"].tolist())
    by_value = robust.sort_values("value")
    clear = len(by_value) > 1 and bool(by_value["low"].iloc[-1] > by_value["high"].iloc[0])
    tail = "finer labels help, in that order" if ordered else f"{by_value.index[-1]} is best"
    tail += "" if clear else ", but the seeds overlap"
    return Finding(
        audit, "measured",
        f"Robust AUROC for {widest['artefact']} ({widest['class_name']}): {'; '.join(parts)}: {tail}.",
        f"{int(robust['seeds'].min())} seeds each, interval over seeds",
    )  # fmt: skip


def influence_finding(effects: pd.DataFrame) -> Finding:
    """Whether images flagged by influence differ from the rest."""
    audit: Literal["influence"] = "influence"
    known = effects[effects["effect"].notna() & effects["low"].notna()]
    if known.empty:
        return Finding(audit, "not_known", "Flagged images could not be compared with the rest.", "no values")
    parts = []
    for row in known.to_dict("records"):
        effect = with_interval(row["effect"], row["low"], row["high"], signed=True)
        name = str(row["measure"]).replace("_", " ")
        kind = "Cliff's Δ" if row["kind"] == "delta" else "difference of shares"
        differs = "" if row["low"] > 0 or row["high"] < 0 else ", no clear difference"
        parts.append(
            f"{name}: {_short(row['flagged'])} against {_short(row['rest'])} ({kind} {effect}{differs})"
        )
    differing = bool(((known["low"] > 0) | (known["high"] < 0)).any())
    lead = "Images flagged by influence differ from the rest" if differing else "No difference is clear"
    most = known.sort_values("flagged_images").iloc[-1]
    rests = (
        f"{most['flagged_images']} flagged images against {most['rest_images']} others, patients resampled"
    )
    return Finding(audit, "measured", f"{lead}: {'; '.join(parts)}.", rests)

"""The verdict: which sentence follows from which numbers, and a page that is whole and self-contained."""

import numpy as np
import pandas as pd
import pytest

from grasp_ray.audits.artefact_auroc import NUMBERS
from grasp_ray.audits.saliency_table import RandomisationCheck
from grasp_ray.report.audit_verdict import (
    Finding,
    artefact_finding,
    influence_finding,
    judge,
    masking_finding,
    saliency_finding,
    supervision_finding,
)
from grasp_ray.report.audits_page import AuditsInputs, Shown, render_audits_page
from grasp_ray.report.figures_audits import view_name


def masking(full: float, hidden: float, width: float = 0.05) -> pd.DataFrame:
    rows = []
    for view, auc in (("full", full), ("no_roi", hidden), ("no_roi_box", hidden), ("only_roi", full)):
        row = {"view": view, "variant": view, "dilation": 0, "only_class": -1, "size_matched": False}
        row |= {"auc": auc, "low": auc - width, "high": auc + width, "difference": auc - full, "p_value": 0.2}
        row["difference_high"] = auc - full + width
        rows.append(row | {"cosine": 0.9, "hidden_share": 0.3, "visits": 80, "note": ""})
    return pd.DataFrame(rows)


def artefacts(gap: float, p_holm: float) -> pd.DataFrame:
    row = dict.fromkeys(NUMBERS, 0.5) | {"gap": gap, "gap_low": gap - 0.1, "gap_high": gap + 0.1}
    row |= {"aligned": 0.9, "robust": 0.9 - gap, "robust_low": 0.8 - gap, "robust_high": 1 - gap}
    row |= {"artefact": "lamp", "label": 2, "class_name": "severe", "linked": True, "note": ""}
    row |= {"link": 0.4 if gap > 0 else -0.4, "link_p": 1e-6}
    return pd.DataFrame([row | {"p_value": p_holm, "p_holm": p_holm, "visits": 150}])


def strata(low: float, high: float) -> pd.DataFrame:
    rows = []
    for metric in ("lift", "pixel_auroc"):
        row = {"stratum": "all", "metric": metric, "value": (low + high) / 2, "low": low, "high": high}
        rows.append(row | {"images": 100, "patients": 40})
    return pd.DataFrame(rows)


AREA = pd.DataFrame([{"features": "metadata", "auc": 0.95}, {"features": "lesion area", "auc": 0.6}])
SOUND = RandomisationCheck(30, 0.2, 2.0, 1.1, survives=False)


def test_the_masking_sentence_says_what_is_left_without_the_lesion() -> None:
    found = masking_finding(masking(0.88, 0.81), AREA, 3, ["v1"])
    assert found.status == "shortcut"
    assert "still reaches AUC .81 [.76, .86] of .88 [.83, .93]: it reads something else" in found.sentence
    assert "3 images without a usable mask" in found.rests_on
    telling = masking_finding(masking(0.88, 0.81), AREA.assign(auc=0.9), 0, ["v1"])
    assert telling.status == "unclear"  # the box's size may be what is read
    assert "since the lesion's area alone reaches .90" in telling.sentence
    assert masking_finding(masking(0.88, 0.52), AREA, 0, []).status == "lesion"
    wide = masking_finding(masking(0.88, 0.52, width=0.37), AREA, 0, [])
    assert (wide.status, wide.sentence[:23]) == ("unclear", "Too few visits to tell:")
    assert masking_finding(masking(0.52, 0.5), AREA, 0, []).status == "unclear"
    nothing = masking(np.nan, np.nan).assign(note="one class: all 80 visits are of class 0")
    assert (
        masking_finding(nothing, AREA, 0, []).sentence == "No AUC: one class: all 80 visits are of class 0."
    )


def test_an_artefact_is_read_only_beyond_the_corrected_level() -> None:
    read = artefact_finding(artefacts(0.5, 1e-5), 0.001, {"lamp": ["v7"]})
    assert read.status == "shortcut"
    assert "takes lamp for a sign of severe, as training suggests: AUROC .90 where" in read.sentence
    assert read.visit_ids == ["v7"]
    assert artefact_finding(artefacts(-0.5, 1e-5), 0.001, {}).sentence.count("a sign against severe") == 1
    weak = artefact_finding(artefacts(0.5, 0.02), 0.001, {})
    assert weak.status == "lesion"
    assert weak.sentence.startswith("No annotated artefact is shown to be read, but one may be: ")
    assert "+.50 [+.40, +.60] (lamp, severe; p = 0.020 after Holm); more visits would tell" in weak.sentence
    nothing = artefact_finding(artefacts(0.05, 0.4), 0.001, {}).sentence
    assert nothing.startswith("No annotated artefact moves the answer measurably")
    assert artefact_finding(artefacts(0.5, 0.02).head(0), 0.001, {}).status == "not_known"
    for unlinked in ({"link_p": 0.2}, {"link": -0.4}):  # training gives no reason, or points the other way
        disturbed = artefact_finding(artefacts(0.5, 1e-5).assign(**unlinked), 0.001, {})
        assert disturbed.status == "unclear"
        assert disturbed.sentence.startswith("lamp disturbs the answer")
    few = artefacts(0.5, np.nan).assign(note="too few visits: 1 with neither")
    assert "too few visits" in artefact_finding(few, 0.001, {}).sentence
    beside = artefact_finding(pd.concat([artefacts(0.05, 0.4), few.assign(artefact="ink")]), 0.001, {})
    assert beside.rests_on.endswith("; not tested: ink for severe (too few visits: 1 with neither)")


def test_saliency_is_blocked_when_maps_survive_random_weights() -> None:
    assert saliency_finding(strata(1.4, 1.9), SOUND, 0.6, []).status == "lesion"
    assert saliency_finding(strata(0.5, 0.8), SOUND, 0.6, []).status == "shortcut"
    assert saliency_finding(strata(0.8, 1.4), SOUND, 0.6, []).status == "unclear"
    by_skin = [
        strata(low, low + 0.4).assign(stratum=f"skin_type={name}")
        for name, low in (("I-III", 3.0), ("IV-VI", 1.2))
    ]
    both = pd.concat([strata(1.4, 1.9), *by_skin])
    skin = saliency_finding(both, SOUND, 0.6, []).sentence
    assert skin.endswith(
        "By skin: 3.20 [3.00, 3.40] on skin types I–III, 1.40 [1.20, 1.60] on skin types IV–VI."
    )
    assert (
        "By skin" not in saliency_finding(pd.concat([strata(1.4, 1.9), by_skin[0]]), SOUND, 0.6, []).sentence
    )
    survived = RandomisationCheck(30, 0.8, 2.0, 1.9, survives=True)
    blocked = saliency_finding(strata(1.4, 1.9), survived, 0.6, [])
    assert blocked.status == "blocked"
    assert blocked.sentence.startswith("No conclusion")
    nothing = RandomisationCheck(0, None, None, None, survives=True)
    assert saliency_finding(strata(1.4, 1.9), nothing, 0.6, []).status == "blocked"


def test_views_have_names_for_people() -> None:
    row = {"variant": "no_roi", "dilation": 0, "only_class": -1, "size_matched": False}
    names = ("mild", "severe")
    assert view_name(row, names) == "without the lesion"
    assert view_name(row | {"size_matched": True}, names) == "without another visit's mask"
    assert view_name(row | {"dilation": -10}, names) == "without the lesion, shrunk by 10"
    one = view_name(row | {"dilation": 25, "only_class": 1}, names)
    assert one == "without the lesion, grown by 25, for severe visits alone"
    assert view_name(row | {"only_class": 1}, ()) == "without the lesion, for class 1 visits alone"


@pytest.mark.parametrize(
    ("states", "status"),
    [
        ({"artefacts": "shortcut", "masking": "lesion"}, "shortcut"),
        ({"artefacts": "unclear", "masking": "lesion"}, "unclear"),
        ({"artefacts": "lesion", "masking": "shortcut"}, "unclear"),
        ({"masking": "shortcut"}, "unclear"),
        ({"artefacts": "lesion", "masking": "lesion", "saliency": "lesion"}, "lesion"),
        ({"artefacts": "not_known", "masking": "lesion"}, "lesion"),
        ({"artefacts": "not_known"}, "unclear"),
        ({"saliency": "blocked"}, "unclear"),
    ],
)
def test_the_headline_is_no_bolder_than_its_findings(states: dict[str, str], status: str) -> None:
    findings = [Finding(audit, state, "", "") for audit, state in states.items()]  # type: ignore[arg-type]
    assert judge(findings).status == status


def supervisions() -> pd.DataFrame:
    rows = []
    for supervision, robust in (("visit", 0.3), ("box", 0.4), ("mask", 0.5)):
        values = {"overall": 0.5, "aligned": 0.9, "robust": robust, "gap": 0.9 - robust}
        for measure, value in values.items():
            row = {"supervision": supervision, "artefact": "ink", "label": 1, "class_name": "melanoma"}
            row |= {"measure": measure, "value": value, "low": value - 0.03, "high": value + 0.03, "seeds": 3}
            rows.append(row)
    return pd.DataFrame(rows)


EFFECTS = pd.DataFrame(
    [
        {
            "measure": "lesion_lift", "kind": "delta", "flagged": 1.1, "rest": 1.5, "effect": -0.3,
            "low": -0.5, "high": -0.1, "flagged_images": 20, "rest_images": 60, "note": "",
        }
    ]
)  # fmt: skip


def test_supervision_and_influence_say_order_and_clearness() -> None:
    sentence = supervision_finding(supervisions()).sentence
    assert "visit .30 [.27, .33]; box .40 [.37, .43]; mask .50 [.47, .53]: finer labels help" in sentence
    assert "seeds overlap" in supervision_finding(supervisions().assign(low=0.0, high=1.0)).sentence
    assert "(Cliff's Δ −.30 [−.50, −.10])" in influence_finding(EFFECTS).sentence


def test_the_page_is_self_contained_and_names_every_audit() -> None:
    tables = {
        "masking": masking(0.88, 0.81), "strata": strata(1.2, 1.6), "artefacts": artefacts(0.5, 1e-5),
        "supervisions": supervisions(), "effects": EFFECTS,
        "granularity": pd.DataFrame(
            [{"supervision": "mask", "variance": 0.1, "mutual_information": 0.0, "area_share": 0.2}]
        ),
    }  # fmt: skip
    findings = [
        artefact_finding(tables["artefacts"], 0.001, {}),
        masking_finding(tables["masking"], AREA, 0, []),
        saliency_finding(tables["strata"], SOUND, 0.6, ["<i1>"]),
        supervision_finding(tables["supervisions"]),
        influence_finding(EFFECTS),
    ]
    photo = np.zeros((8, 8, 3), dtype=np.uint8)
    inputs = AuditsInputs(
        run={"name": "demo", "updated": "2026-11-24"}, verdict=judge(findings), tables=tables,
        pictures={"high": [Shown("i1", "lift 2", photo)]}, seconds={"audit_masking": 12.0},
    )  # fmt: skip
    page = render_audits_page(inputs)
    for finding in findings:
        assert finding.sentence.split(":")[0].replace("'", "&#39;") in page
    assert "http" not in page.replace("http://www.w3.org", "")
    assert "&lt;i1&gt;" in page  # ids are escaped
    assert page.count("<figure") == 4
    bare = AuditsInputs(run={"name": "demo", "updated": ""}, verdict=judge([]), tables={})
    assert "leave open" in render_audits_page(bare)

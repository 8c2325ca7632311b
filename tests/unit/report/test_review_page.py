"""The review page: safe with any text, whole without a network, and its form gives what `decide` takes."""

import html
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from grasp_ray.report.review_page import ReviewInputs, queue_visits, render_review_page
from grasp_ray.review.decisions import DECISION_COLUMNS
from grasp_ray.review.queue import QUEUE_COLUMNS
from grasp_ray.review.spreadsheet import read_csv

DOT = "data:image/gif;base64,R0lGODlhAQABAAAAACw="
HOSTILE = '"><script>alert(1)</script>'


def made_up(**changes: Any) -> ReviewInputs:
    """Visit V2 with a flagged photo before visit V1, which is flagged as a whole."""
    row = {
        "patient_id": "P1", "flagger": "loss", "score": 1.5, "rank": 2, "ranked": 150, "label": 1,
        "label_reader2": None, "pasi_reader1": 7.25, "pasi_reader2": None, "query_ids": None,
    }  # fmt: skip
    photo = {"visit_id": "V2", "image_id": "V2-1", "reason": "removal", "why": "It harms.", "priority": 1}
    listed = {"times_listed": 3, "query_ids": "q1,q2", "score": 0.0005}
    visit = {"visit_id": "V1", "image_id": "", "reason": "label", "why": "Unlikely.", "priority": 2}
    queue = pd.DataFrame([row | photo | listed, row | visit]).reindex(columns=list(QUEUE_COLUMNS))
    manifest = pd.DataFrame(
        {
            "image_id": ["V1-0", "V2-0", "V2-1"], "visit_id": ["V1", "V2", "V2"], "patient_id": "P1",
            "body_view": ["left_arm", None, "trunk"], "week": pd.array([0, 4, 4], dtype="Int64"),
            "skin_type": None, "device": "phone-B", "site": "Graz",
        }
    )  # fmt: skip
    values: dict[str, Any] = {
        "run_name": "first", "queue": queue.astype(QUEUE_COLUMNS), "queue_sha256": "5e" * 32,
        "priority_rule": "The worst first.", "manifest": manifest,
        "class_names": ("mild", "moderate", "severe"), "by_pasi": True,
        "pictures": dict.fromkeys(manifest["image_id"], DOT),
    }  # fmt: skip
    return ReviewInputs(**values | changes)


def test_visits_come_by_priority_with_flagged_photos_first() -> None:
    first, second = queue_visits(made_up())
    assert [first.visit_id, second.visit_id] == ["V2", "V1"]
    assert [(photo.image_id, photo.why) for photo in first.photos] == [("V2-1", ["It harms."]), ("V2-0", [])]
    assert first.why == ["One photo is flagged; the reason stands below it."]
    assert second.why == ["Unlikely."]
    assert first.about == "patient P1 · week 4 · phone-B · Graz"
    assert [(one.pasi, one.label) for one in first.readings] == [("7.2", "moderate"), ("", "not read")]
    assert first.evidence == [
        {
            "about": "V2-1", "reason": "removal", "flagger": "loss", "score": "5.0 × 10⁻⁴",
            "rank": "2 of 150", "queries": "q1, q2",
        }
    ]  # fmt: skip


def test_the_page_asks_for_nothing_and_runs_its_own_script_only() -> None:
    page = render_review_page(made_up())
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "'unsafe-inline'" not in policy.partition("script-src")[2]
    assert not re.findall(r"(?:src|href|url\()\W*https?:", page)
    assert set(re.findall(r'<img [^>]*src="([^"]+)"', page)) == {DOT}


def test_text_is_escaped_wherever_it_comes_from() -> None:
    inputs = made_up()
    queue = inputs.queue.replace({"V2": HOSTILE, "V2-1": HOSTILE, "It harms.": HOSTILE, "q1,q2": HOSTILE})
    manifest = inputs.manifest.replace({"V2": HOSTILE, "V2-1": HOSTILE, "trunk": HOSTILE, "Graz": HOSTILE})
    page = render_review_page(made_up(queue=queue, manifest=manifest, run_name=HOSTILE))
    assert page.count("<script>") == 1
    assert "alert(1)" in html.unescape(page)


def test_thumbnails_off_shows_no_photo_and_keeps_the_form() -> None:
    page = render_review_page(made_up(pictures={}))
    assert "<img" not in page
    assert "photo not shown" in page
    assert 'data-image="V2-1"' in page


def test_an_overlay_is_shown_where_there_is_one() -> None:
    assert "where the model looks" not in render_review_page(made_up())
    page = render_review_page(made_up(overlays={"V2-1": DOT}))
    assert page.count("where the model looks") == 1


def test_a_trial_of_classes_is_not_asked_for_a_pasi() -> None:
    assert "New PASI" not in render_review_page(made_up(by_pasi=False))


def test_an_empty_queue_says_so() -> None:
    page = render_review_page(made_up(queue=made_up().queue.head(0)))
    assert "0 visits to look at" in page
    assert "No visit of this run is flagged" in page


DRIVE = """
const real = URL.createObjectURL;
URL.createObjectURL = (blob) => {
  blob.text().then((text) => {
    const shown = document.createElement("pre");
    shown.id = "csv";
    shown.textContent = text;
    document.body.append(shown);
  });
  return real(blob);
};
const [first, second] = document.querySelectorAll(".visit");
const pick = (set, value) => set.querySelector(`input[value=${value}]`).click();
const [flagged, other] = first.querySelectorAll(".photos .choices");
pick(flagged, "exclude_image");
pick(other, "keep");
const kept = other.querySelector("input:checked");
kept.dispatchEvent(new PointerEvent("pointerdown", { bubbles: true }));
kept.click(); // the second tap takes it back
const pasi = second.querySelector(".pasi");
const bar = document.querySelector(".bar");
pasi.value = "73";
pasi.dispatchEvent(new Event("input"));
second.querySelector("textarea").value = '=1+1, "sicher"';
bar.requestSubmit(); // no name: nothing is given
document.getElementById("reviewer").value = "Dr. Ö";
bar.requestSubmit(); // no PASI: nothing is given
pasi.value = "12,5";
bar.requestSubmit();
"""


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs the browser `chromium`")
def test_the_form_gives_a_file_that_reads_back(tmp_path: Path) -> None:
    page = re.sub(r"<meta http-equiv=[^>]+>", "", render_review_page(made_up()))  # the policy bars our driver
    (tmp_path / "page.html").write_text(page.replace("</body>", f"<script>{DRIVE}</script></body>"))
    quiet = (
        "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-sync"
    )
    command = ["chromium", *quiet.split(), f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--virtual-time-budget=3000", "--dump-dom", (tmp_path / "page.html").as_uri()]
    try:
        shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=90).stdout
    except subprocess.TimeoutExpired:
        pytest.skip("the browser did not answer: the machine is busy")
    (text,) = re.findall(r'<pre id="csv">(.*?)</pre>', shown, flags=re.DOTALL)
    rows = read_csv(html.unescape(text).encode(), DECISION_COLUMNS, name="decisions.csv")
    given = rows.drop(columns="decided_at").to_numpy().tolist()
    assert given == [
        ["V2", "V2-1", "exclude_image", "", "Dr. Ö", ""],
        ["V1", "", "new_pasi", "12.5", "Dr. Ö", '=1+1, "sicher"'],
    ]
    assert rows["decided_at"].str.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ").all()

import base64
import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from grasp_ray.report.gallery import gallery, jpeg_uri, planted_shares, why_listed
from grasp_ray.report.inputs import ReportInputs
from grasp_ray.report.settings import ReportSettings
from grasp_ray.report.tables import records


def test_each_card_tells_its_own_image_s_facts(report_inputs: ReportInputs) -> None:
    removals = report_inputs.removals[300].set_index("image_id")
    truth = report_inputs.truth
    assert truth is not None
    truth = truth.set_index("image_id")
    cards = gallery(report_inputs)
    assert len(cards) == 24
    for card in cards:
        row, facts = removals.loc[card.image_id], dict(card.facts)
        assert card.visit_id == row["visit_id"]
        assert card.label == report_inputs.class_names[row["label"]]
        assert facts["in lists"] == f"{row['times_listed']} of 9"
        assert facts["best rank"].startswith(str(row["best_rank"]))
        assert (card.planted == ["none"]) == (
            not truth.loc[card.image_id, "label_error"] and truth.loc[card.image_id, "artefact"] == ""
        )


def test_the_sentence_names_the_query_with_the_worst_score(report_inputs: ReportInputs) -> None:
    influence = report_inputs.influence
    assert influence is not None
    scores = influence.set_index("image_id").filter(like="score:")
    for row in records(report_inputs.removals[300].head(20)):
        worst = scores.loc[row["image_id"]].idxmin().removeprefix("score:")
        assert f"visit {worst} " in why_listed(report_inputs, row)


@pytest.mark.parametrize(
    ("score", "query_label", "verb"),
    [
        (-1.0, 1, "raised the loss"),
        (1.0, 1, "lowered the loss"),
        (1.0, 2, "strengthened"),
        (-1.0, 2, "weakened"),
    ],
)
def test_the_sentence_follows_the_sign_and_the_label_in_the_loss(
    small_inputs: Callable[..., ReportInputs], score: float, query_label: int, verb: str
) -> None:
    queries = pd.DataFrame(
        {"query_id": ["Q"], "visit_id": ["Q"], "image_id": ["Q-0"], "label": [1], "predicted": [2]}
    ).assign(query_label=query_label, attention=0.1)
    row = {"image_id": "none such", "query_ids": "Q", "worst_score": score}
    text = why_listed(replace(small_inputs(), queries=queries, influence=None), row)
    assert verb in text
    assert "moderate" in text
    assert "severe" in text


def test_thumbnails_keep_the_photo_s_shape_and_can_be_turned_off(
    small_inputs: Callable[..., ReportInputs],
) -> None:
    photo = np.zeros((100, 50, 3), np.uint8)
    photo[:, :, 0] = 200
    content = base64.b64decode(jpeg_uri(photo, ReportSettings(thumbnail_side_px=64)).partition(",")[2])
    image = Image.open(io.BytesIO(content))
    assert image.size == (32, 64)
    red, green, _ = image.getpixel((10, 10))
    assert red > 190
    assert green < 12
    inputs = small_inputs()
    assert all(card.picture_uri for card in gallery(inputs)[:4])
    hidden = replace(inputs, settings=ReportSettings(thumbnails=False))
    assert not any(card.picture_uri for card in gallery(hidden))
    assert gallery(replace(inputs, settings=ReportSettings(gallery_images=0))) == []


def test_planted_shares_count_removed_images_only() -> None:
    truth = pd.DataFrame(
        {
            "image_id": list("abcd"),
            "label_error": [True, False, False, True],
            "artefact": ["", "lamp", "", ""],
        }
    )
    removals = pd.DataFrame({"image_id": list("abd"), "kept_because": ["", "", "last image of its visit"]})
    assert planted_shares(removals, truth) == [
        ("planted label error", 0.5, 0.5),
        ("planted artefact: lamp", 0.5, 0.25),
    ]

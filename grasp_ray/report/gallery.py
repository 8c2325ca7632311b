"""Cards of flagged images: what each shows, where it ranks, and why it was listed."""

import base64
import io
import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from grasp_ray.report.figures_influence import flagger_name
from grasp_ray.report.formats import count, is_missing, ordinal, percent, scientific
from grasp_ray.report.inputs import ReportInputs, gallery_image_ids
from grasp_ray.report.settings import ReportSettings
from grasp_ray.report.tables import Row, records

HIGH_SELF_INFLUENCE = 0.9
"""Share of training images below which a card does not speak of an image's self-influence."""


@dataclass(frozen=True)
class Card:
    """One flagged image of the gallery."""

    image_id: str
    visit_id: str
    label: str
    picture_uri: str
    """JPEG as a data: URI; '' without a picture."""
    facts: list[tuple[str, str]]
    why: str
    planted: list[str]
    """Known faults of a simulated trial's image; ['none'] when it has none, [] when no truth is known."""


def gallery(inputs: ReportInputs) -> list[Card]:
    """Cards of the images that the shown removal takes, most harmful or most suspect first."""
    removals = inputs.shown_removals
    if removals is None or inputs.settings.gallery_images == 0:
        return []
    ids = gallery_image_ids(removals, inputs.settings.gallery_images)
    chosen = removals.set_index("image_id", drop=False)
    return [_card(inputs, records(chosen.loc[[image_id]])[0]) for image_id in ids]


def _card(inputs: ReportInputs, row: Row) -> Card:
    image_id = str(row["image_id"])
    images = f" of {count(len(inputs.influence))}" if inputs.influence is not None else ""
    queries = f" of {len(inputs.queries)}" if inputs.queries is not None else ""
    listed = [
        ("best rank", "–" if is_missing(row["best_rank"]) else f"{ordinal(int(row['best_rank']))}{images}"),
        ("in lists", f"{row['times_listed']}{queries}"),
        ("worst score", scientific(row["worst_score"])),
    ]
    suspect = [
        ("place of its visit", "–" if is_missing(row["best_rank"]) else ordinal(int(row["best_rank"]))),
        ("score of its visit", scientific(row["worst_score"])),
    ]
    return Card(
        image_id=image_id,
        visit_id=str(row["visit_id"]),
        label=class_name(inputs.class_names, row["label"]),
        picture_uri=picture_uri(inputs, image_id),
        facts=suspect if "rule" in row else listed,
        why=why_listed(inputs, row),
        planted=_planted(inputs, image_id),
    )


def class_name(class_names: tuple[str, ...], label: object) -> str:
    """Name of a class index; `class 7` for one without a name, `–` when missing."""
    if is_missing(label):
        return "–"
    index = int(label)  # type: ignore[call-overload]
    return class_names[index] if 0 <= index < len(class_names) else f"class {index}"


def picture_uri(inputs: ReportInputs, image_id: str) -> str:
    """The image's thumbnail as a data: URI; '' where there is none or thumbnails are off."""
    photo = inputs.thumbnails.get(image_id) if inputs.settings.thumbnails else None
    return "" if photo is None else jpeg_uri(photo, inputs.settings)


def jpeg_uri(photo: NDArray[np.uint8], settings: ReportSettings) -> str:
    """A photo [height, width, 3] as a small JPEG in a data: URI, without any metadata."""
    image = Image.fromarray(photo)
    image.thumbnail((settings.thumbnail_side_px, settings.thumbnail_side_px))
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=settings.thumbnail_quality, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def why_listed(inputs: ReportInputs, row: Row) -> str:
    """One or two sentences: which mistake the image fed most, and whether its label was hard to fit.

    The wording follows the score's sign (positive: training on the image lowered the query's loss) and the
    label in the query's loss (the reader's, or the model's wrong one).
    """
    sentences = []
    if "rule" in row:
        name = flagger_name(str(row["rule"]))
        sentences.append(f"The label of its visit is among the most suspect by {name}.")
    query_id = _worst_query(inputs, row)
    queries = (
        [] if inputs.queries is None else records(inputs.queries[inputs.queries["query_id"] == query_id])
    )
    for query in queries:
        said = class_name(inputs.class_names, query["label"])
        read = class_name(inputs.class_names, query["predicted"])
        visit = f"visit {query['visit_id']}"
        helps = row["worst_score"] > 0
        if query["query_label"] == query["label"]:
            verb = "lowered" if helps else "raised"
            sentences.append(
                f"Training on it {verb} the loss on {visit} ({said}, but the model says {read})."
            )
        else:
            verb = "strengthened" if helps else "weakened"
            sentences.append(f"Training on it {verb} the wrong answer, {read}, on {visit} ({said}).")
    share = _self_influence_share(inputs.influence, str(row["image_id"]))
    if share is not None and share >= HIGH_SELF_INFLUENCE:
        sentences.append(
            f"Its self-influence exceeds that of {_whole_percent(share)} of photos: "
            "its label was hard to fit."
        )
    return " ".join(sentences)


def _worst_query(inputs: ReportInputs, row: Row) -> str:
    """The listing query with the row's worst score; ties by id. '' where the scores are not at hand."""
    listing = str(row["query_ids"]).split(",") if row["query_ids"] else []
    if inputs.influence is None:
        return listing[0] if len(listing) == 1 else ""
    scores = records(inputs.influence[inputs.influence["image_id"] == row["image_id"]])
    known = [query for query in sorted(listing) if scores and f"score:{query}" in scores[0]]
    if not known:
        return ""
    return min(known, key=lambda query: abs(scores[0][f"score:{query}"] - row["worst_score"]))


def _self_influence_share(influence: pd.DataFrame | None, image_id: str) -> float | None:
    if influence is None:
        return None
    own = influence.loc[influence["image_id"] == image_id, "self_influence"]
    return None if own.empty else float((influence["self_influence"] < own.iloc[0]).mean())


def _whole_percent(share: float) -> str:
    """Rounded down, so that no photo exceeds all photos, itself included."""
    return percent(math.floor(100 * share) / 100, 0)


def _planted(inputs: ReportInputs, image_id: str) -> list[str]:
    if inputs.truth is None:
        return []
    faults = []
    for row in records(inputs.truth[inputs.truth["image_id"] == image_id]):
        if row["label_error"]:
            faults.append(f"label error, truly {class_name(inputs.class_names, row['true_class'])}")
        if row["artefact"]:
            faults.append(f"artefact: {row['artefact']}")
        return faults or ["none"]
    return []


def planted_shares(removals: pd.DataFrame, truth: pd.DataFrame) -> list[tuple[str, float, float]]:
    """(fault, share of removed images with it, share of all training images with it) per planted fault.

    `truth` must hold the training images only, so that the second share is their prevalence.
    """
    removed = truth["image_id"].isin(removals.loc[removals["kept_because"] == "", "image_id"])
    faults = [("planted label error", truth["label_error"].astype(bool))]
    faults += [
        (f"planted artefact: {name}", truth["artefact"] == name)
        for name in sorted(set(truth["artefact"]) - {""})
    ]
    if not removed.any():
        return []
    return [(name, float(has[removed].mean()), float(has.mean())) for name, has in faults]

"""ISIC 2017 as a trial: an image is a visit, and a patient of its own; the class is melanoma or not.

Labels come from labels.csv (image_id, split, melanoma, …) or from the challenge's own files
(ISIC-2017_<part>_Part3_GroundTruth.csv with ISIC-2017_<part>_Data_metadata.csv); in any sub-folders. When
they are there, artefacts.csv (Bissoto, Valle and Avila 2020) gives artefact flags, crowd_abc.csv (Raumanns
et al. 2021) the crowd readers' scores, and isic_annotated_<part><n>.csv the five trap splits, in which
artefacts go with the label in train and against it in test.
"""

from typing import Any

import pandas as pd

from grasp_ray.errors import TrialError
from grasp_ray.storage import Storage
from grasp_ray.trial.importers.source_folder import (
    ImportedTrial,
    SourceFiles,
    attach_files,
    sex_codes,
    write_imported,
)
from grasp_ray.trial.schema import ARTEFACT_PREFIX

CLASS_NAMES = ("not melanoma", "melanoma")
ASYMMETRY_NAMES = ("symmetric", "asymmetric in one axis", "asymmetric in both axes")
DESCRIBED = "ISIC 2017 challenge, arXiv:1710.05006"
ARTEFACTS = ("dark_corner", "hair", "gel_border", "gel_bubble", "ruler", "ink", "patches")
TRAP_SPLITS = (1, 2, 3, 4, 5)
_CHALLENGE_PARTS = {"train": "Training", "val": "Validation", "test": "Test_v2"}
_SPLIT_NAMES = {"train": "train", "val": "validation", "test": "test"}


def import_isic2017(
    source: Storage,
    target: Storage,
    *,
    trap_split: int | None = None,
    crowd_asymmetry: bool = False,
    copy: bool = False,
) -> ImportedTrial:
    """Turn the data set under `source` into a trial at `target`; photos are referred to unless `copy`.

    Without `trap_split` the challenge's own splits hold. With it (1–5) visits, labels and splits are those
    of that trap split; its published train list repeats the whole validation list, and these images are
    kept in validation only. With `crowd_asymmetry` the trial holds the images that crowd readers 1 and 2
    scored; their asymmetry (0–2) is the class, and no split is given. Visits keep seborrheic_keratosis,
    age_years, label_source and the crowd's scores as extra columns. Images without a label or a photo are
    named in `skipped`.
    """
    files = SourceFiles(source)
    labels = _labels(files)
    if trap_split is not None:
        labels = _in_trap_split(labels, files, trap_split)
    unlabelled = labels["melanoma"].isna()
    skipped = pd.DataFrame({"image_id": labels.loc[unlabelled, "image_id"], "why": "no label is published"})
    labels = labels[~unlabelled].sort_values("image_id").reset_index(drop=True)
    images, without_photo = attach_files(_images(labels, files), files)
    labels = labels[labels["image_id"].isin(images["image_id"])].reset_index(drop=True)
    skipped = pd.concat([skipped, without_photo], ignore_index=True)
    visits, described = _visits(labels, files), DESCRIBED
    class_names: tuple[str, ...] = CLASS_NAMES
    if trap_split is not None:
        described = f"{DESCRIBED}; trap split {trap_split}"
    if crowd_asymmetry:
        visits, class_names = _read_by_the_crowd(visits, source), ASYMMETRY_NAMES
        images = images[images["image_id"].isin(visits["visit_id"])].reset_index(drop=True)
        described = f"{DESCRIBED}; asymmetry as two crowd readers see it"
    imported = ImportedTrial(visits, images, class_names, skipped)
    return write_imported(imported, source, target, described=described, copy=copy)


def _read_by_the_crowd(visits: pd.DataFrame, source: Storage) -> pd.DataFrame:
    """The visits whose asymmetry crowd readers 1 and 2 scored, with the scores as the readers' classes."""
    if "asymmetry_1" not in visits:
        raise TrialError(f"{source.root} has no crowd_abc.csv: the crowd's readings cannot be imported.")
    both = visits[visits["asymmetry_1"].notna() & visits["asymmetry_2"].notna()]
    classes = {f"class_reader{reader}": both[f"asymmetry_{reader}"].astype("int64") for reader in (1, 2)}
    return both.assign(**classes).drop(columns="split").reset_index(drop=True)


def _labels(files: SourceFiles) -> pd.DataFrame:
    """image_id, split (train|val|test), melanoma (0/1/NA), label_source, and the demographics there are."""
    labels = files.table("labels.csv", required=("image_id", "split", "melanoma"))
    if labels is None:
        labels = _challenge_labels(files)
    odd = sorted(set(labels["split"].dropna()) - set(_SPLIT_NAMES))
    if odd or labels["split"].isna().any() or labels["image_id"].duplicated().any():
        raise TrialError(
            f"{files.source.root}: ISIC 2017 labels need unique image_ids and splits train, val or test "
            f"(found {', '.join(odd) or 'missing splits or repeated ids'})."
        )
    challenge = pd.to_numeric(labels["melanoma"])
    # No challenge label of the test photos is in labels.csv; the debiasing study's label equals the
    # challenge's wherever both are given.
    study = pd.to_numeric(labels["bissoto_malignant"]) if "bissoto_malignant" in labels else challenge
    labels["melanoma"] = challenge.fillna(study)
    labels["label_source"] = challenge.notna().map({True: "challenge", False: "debiasing study"})
    return labels


def _challenge_labels(files: SourceFiles) -> pd.DataFrame:
    parts = []
    for split, part in _CHALLENGE_PARTS.items():
        truth = files.table(f"ISIC-2017_{part}_Part3_GroundTruth.csv", required=("image_id", "melanoma"))
        if truth is None:
            continue
        people = files.table(f"ISIC-2017_{part}_Data_metadata.csv", required=("image_id",))
        if people is not None:
            truth = truth.merge(people, on="image_id", how="left", validate="one_to_one")
        parts.append(truth.assign(split=split))
    if not parts:
        raise TrialError(
            f"{files.source.root} has neither labels.csv nor ISIC-2017_Training_Part3_GroundTruth.csv."
        )
    return pd.concat(parts, ignore_index=True)


def _in_trap_split(labels: pd.DataFrame, files: SourceFiles, number: int) -> pd.DataFrame:
    """The labels of one trap split's images, with its labels and splits, and no image in two of them."""
    if number not in TRAP_SPLITS:
        raise TrialError(f"trap_split={number}: the trap splits are numbered 1 to 5.")
    parts = []
    for split in ("val", "test", "train"):  # the first list that names an image keeps it
        name = f"isic_annotated_{split}{number}.csv"
        part = files.table(name, required=("image_id", "label"))
        if part is None:
            raise TrialError(f"{files.source.root} has no {name}: trap split {number} cannot be imported.")
        parts.append(pd.DataFrame({"image_id": part["image_id"], "split": split, "melanoma": part["label"]}))
    trap = pd.concat(parts, ignore_index=True).drop_duplicates("image_id", keep="first")
    trap["melanoma"] = pd.to_numeric(trap["melanoma"])
    people = labels.drop(columns=["split", "melanoma", "label_source"])
    trap["label_source"] = "debiasing study"
    return trap.merge(people, on="image_id", how="left", validate="one_to_one")


def _images(labels: pd.DataFrame, files: SourceFiles) -> pd.DataFrame:
    images = pd.DataFrame({"image_id": labels["image_id"], "visit_id": labels["image_id"]})
    artefacts = files.table("artefacts.csv", required=("image_id", *ARTEFACTS))
    if artefacts is None:
        return images
    flags = artefacts.set_index("image_id")[list(ARTEFACTS)].apply(pd.to_numeric).astype("Int64")
    return images.join(flags.add_prefix(ARTEFACT_PREFIX), on="image_id", validate="one_to_one")


def _visits(labels: pd.DataFrame, files: SourceFiles) -> pd.DataFrame:
    columns: dict[str, Any] = {
        "visit_id": labels["image_id"],
        "patient_id": labels["image_id"],
        "class_reader1": labels["melanoma"].astype("int64"),
        "split": labels["split"].map(_SPLIT_NAMES),
        "label_source": labels["label_source"],
    }
    if "sex" in labels:
        columns["sex"] = sex_codes(labels["sex"])
    if "age_approximate" in labels:  # holds 'unknown' beside numbers
        columns["age_years"] = pd.to_numeric(labels["age_approximate"], errors="coerce")
    if "seborrheic_keratosis" in labels:
        columns["seborrheic_keratosis"] = pd.to_numeric(labels["seborrheic_keratosis"]).astype("Int64")
    visits = pd.DataFrame(columns)
    crowd = files.table("crowd_abc.csv", required=("image_id",))
    if crowd is None:
        return visits
    scores = crowd.set_index("image_id").apply(pd.to_numeric).astype("Int64")
    return visits.join(scores, on="visit_id", validate="one_to_one")

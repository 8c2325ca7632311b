"""A small trial on disk, sound in every respect, that tests then damage."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from grasp_ray.storage import Storage


def photo_bytes(pixels: np.ndarray, file_format: str = "PNG", **options: Any) -> bytes:
    """The pixels as a photo file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, file_format, **options)
    return buffer.getvalue()


def random_pixels(seed: int, height_px: int = 24, width_px: int = 36) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height_px, width_px, 3), dtype=np.uint8)


def small_visits(patients: int = 10) -> pd.DataFrame:
    """Two visits per patient; PASI 2, 7, 12 in turn."""
    rows = []
    for patient in range(patients):
        for week in (0, 4):
            rows.append(
                {
                    "visit_id": f"P{patient:02d}-w{week}",
                    "patient_id": f"P{patient:02d}",
                    "week": week,
                    "pasi_reader1": 2.0 + 5 * (patient % 3),
                    "pasi_reader2": 3.0 if week else np.nan,
                    "skin_type": ["I", "IV", "VI"][patient % 3],
                    "sex": "FM"[patient % 2],
                }
            )
    return pd.DataFrame(rows)


def small_images(visits: pd.DataFrame, per_visit: int = 3) -> pd.DataFrame:
    """Images with a path, a mask for the first of each visit, a box and an artefact flag."""
    rows = []
    for visit in visits["visit_id"]:
        for number in range(per_visit):
            rows.append(
                {
                    "image_id": f"{visit}-{number}",
                    "visit_id": visit,
                    "path": f"photos/{visit}-{number}.png",
                    "body_view": "trunk",
                    "mask_path": f"masks/{visit}.png" if number == 0 else None,
                    "box_left_px": 1,
                    "box_top_px": 2,
                    "box_right_px": 35,
                    "box_bottom_px": 23,
                    "artefact_lamp": number % 2,
                }
            )
    return pd.DataFrame(rows)


def write_small_trial(folder: Path, patients: int = 10) -> Storage:
    """Write the trial as CSV with its photos and masks."""
    trial = Storage.at(folder)
    visits = small_visits(patients)
    images = small_images(visits)
    for position, path in enumerate(images["path"]):
        trial.write_bytes(path, photo_bytes(random_pixels(position)))
    mask = np.zeros((24, 36), dtype=np.uint8)
    mask[6:18, 9:27] = 255
    for path in images["mask_path"].dropna():
        trial.write_bytes(path, photo_bytes(mask))
    write_csv(trial, "visits.csv", visits)
    write_csv(trial, "images.csv", images)
    return trial


def write_csv(trial: Storage, name: str, frame: pd.DataFrame) -> None:
    trial.write_bytes(name, frame.to_csv(index=False).encode())

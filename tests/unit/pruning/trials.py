"""Small manifests and influence tables for the tests of removal."""

import numpy as np
import pandas as pd


def manifest_of(images_per_visit: list[int], *, split: str = "train", seed: int = 0) -> pd.DataFrame:
    """A training manifest (labels by visit), with two validation visits of three images after it."""
    rng = np.random.default_rng(seed)
    rows = []
    for visit, count in enumerate(images_per_visit):
        label = int(rng.integers(0, 3))
        rows += [
            (f"{visit:02d}-{image:02d}", f"T{visit:02d}", f"P{visit // 2}", split, label)
            for image in range(count)
        ]
    for visit in range(2):
        rows += [(f"val{visit}-{image}", f"W{visit}", f"Q{visit}", "validation", visit) for image in range(3)]
    return pd.DataFrame(rows, columns=["image_id", "visit_id", "patient_id", "split", "label"])


def influence_of(manifest: pd.DataFrame, scores: dict[str, np.ndarray]) -> pd.DataFrame:
    """An influence table of the manifest's training images."""
    train = manifest[manifest["split"] == "train"].reset_index(drop=True)
    columns = {f"score:{query}": np.asarray(score, dtype=float) for query, score in scores.items()}
    return train.drop(columns="split").assign(orientation="positive=helpful", **columns)


def random_case(images_per_visit: list[int], queries: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A manifest and an influence table with ties, zeros and both signs."""
    manifest = manifest_of(images_per_visit, seed=seed)
    rng = np.random.default_rng(seed)
    scores = {f"W{index}": np.round(rng.normal(size=sum(images_per_visit)), 1) for index in range(queries)}
    return manifest, influence_of(manifest, scores)

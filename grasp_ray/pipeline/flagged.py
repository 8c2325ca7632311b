"""The training images that influence flagged, beside as many visits' images that it did not."""

import pandas as pd

from grasp_ray.pipeline.run_folder import REMOVALS, RunFolder


def flagged_image_ids(run: RunFolder) -> list[str]:
    """Images that the deepest influence list names, most listed first; none before jobs/prune.py."""
    names = [name for name in run.storage.names(REMOVALS) if name.startswith("k=")]
    if not names:
        return []
    removed = run.storage.read_table(f"{REMOVALS}/{max(names)}")
    removed = removed.sort_values(["times_listed", "image_id"], ascending=[False, True])
    return removed["image_id"].astype(str).tolist()


def flagged_visits(run: RunFolder, visits: int, seed: int) -> pd.DataFrame:
    """Manifest rows of `visits` training visits with the most listed images and of as many without any."""
    manifest = run.manifest()
    train = manifest[manifest["split"] == "train"]
    flagged = pd.DataFrame({"image_id": flagged_image_ids(run)}).merge(train, on="image_id")
    with_flag = flagged["visit_id"].drop_duplicates()
    others = train.loc[~train["visit_id"].isin(with_flag), "visit_id"].drop_duplicates().sort_values()
    others = others.sample(n=min(visits, len(others)), random_state=seed)
    if flagged.empty:
        return train.head(0)
    return train[train["visit_id"].isin({*with_flag.head(visits), *others})]

"""Raw products of one shard, joined from the parts that hold some checkpoints or queries each."""

from collections.abc import Sequence

import pandas as pd

DOT = "dot:"
_KEYS = ["image_id", "epoch"]


def join_raw(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """One row per image and epoch, sorted by both; dot columns by query_id.

    Each part holds the rows of `CheckpointReplay.score` for all images at one checkpoint and some of the
    queries. Loss and self-influence are taken from a checkpoint's first part.
    """
    by_epoch: dict[int, pd.DataFrame] = {}
    for part in parts:
        rows = part.sort_values(_KEYS, ignore_index=True)
        epoch = int(rows["epoch"].iloc[0])
        if epoch in by_epoch:
            found = by_epoch[epoch]
            assert (found["image_id"] == rows["image_id"]).all(), "parts of one shard hold the same images"
            rows = pd.concat([found, rows[_dots(rows)]], axis=1)
        by_epoch[epoch] = rows
    joined = pd.concat(by_epoch.values(), ignore_index=True).sort_values(_KEYS, ignore_index=True)
    dots = _dots(joined)
    return joined[[*(column for column in joined.columns if column not in dots), *dots]]


def _dots(frame: pd.DataFrame) -> list[str]:
    return sorted(column for column in frame.columns if column.startswith(DOT))

"""The groups of visits that are reported apart: skin type, sex, week, device, site. No metrics here."""

import numpy as np
import pandas as pd
from jaxtyping import Bool

SKIN_TYPES = ("I", "II", "III", "IV", "V", "VI")
"""Fitzpatrick's scale."""

SKIN_TYPE_RANGES = {"I-III": SKIN_TYPES[:3], "IV-VI": SKIN_TYPES[3:]}
"""The two ranges that GRASP-PsONet section 4 compares."""

PLAIN_COLUMNS = ("sex", "week", "device", "site")


def visit_groups(visits: pd.DataFrame) -> list[tuple[str, Bool[np.ndarray, "V"]]]:
    """Name and membership of each group, in reading order: all, skin types, their ranges, the other columns.

    Columns the trial lacks yield no group, and a visit whose value is missing belongs to none of its column.
    """
    groups = [("all", np.ones(len(visits), dtype=bool))]
    if "skin_type" in visits:
        present = [skin_type for skin_type in SKIN_TYPES if (visits["skin_type"] == skin_type).any()]
        for skin_type in present:
            groups.append((f"skin_type={skin_type}", _members(visits["skin_type"], (skin_type,))))
        for name, members in SKIN_TYPE_RANGES.items():
            if set(members) & set(present):
                groups.append((f"skin_type={name}", _members(visits["skin_type"], members)))
    for column in PLAIN_COLUMNS:
        if column in visits:
            for value in sorted(visits[column].dropna().unique()):
                groups.append((f"{column}={_spelled(value)}", _members(visits[column], (value,))))
    return groups


def _members(column: "pd.Series[str]", values: tuple[object, ...]) -> Bool[np.ndarray, "V"]:
    return column.isin(list(values)).to_numpy(dtype=bool)


def _spelled(value: object) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)

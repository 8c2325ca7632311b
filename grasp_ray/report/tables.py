"""Frames arranged for reading: the comparison table (GRASP-PsONet, Table 1, with controls) and its parts.

Numbers are taken from arms.parquet, comparisons.parquet and removal_summary.parquet; none is computed here.
"""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from grasp_ray.evaluation.arm_names import (
    BASELINE,
    REMOVALS,
    SUSPECTS,
    control_of,
    removal_of,
)

Row = dict[str, Any]
"""One row of a frame by column name."""

READERS = ("reader1", "reader2")
METRICS = ("kappa", "auc")
CONTROLS = ("class_matched", "random")
PRIMARY_READER, PRIMARY_METRIC = "reader1", "auc"
_REMOVAL_ORDER = (BASELINE, *REMOVALS)
_CONTROL_ORDER = ("", "random", "class_matched")


def records(frame: pd.DataFrame) -> list[Row]:
    """Rows as dictionaries, in order."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def has_text(value: Any) -> bool:
    """Whether a cell holds text: not '', None or NA."""
    return isinstance(value, str) and value != ""


def arm_order(arm: str) -> tuple[int, int, str]:
    """Sort key: baseline, influence with its random, class-matched and other controls, suspects likewise."""
    control = control_of(arm)
    place = _CONTROL_ORDER.index(control) if control in _CONTROL_ORDER else len(_CONTROL_ORDER)
    return _REMOVAL_ORDER.index(removal_of(arm)), place, arm


def arm_name(arm: str) -> str:
    """How an arm is called beside its removal: `suspects_class_matched` → `class-matched`."""
    return (control_of(arm) or arm).replace("_", "-")


def removal_title(arm: str, k: int) -> str:
    """What a removal and its controls take: `k = 300`, `10 % suspects`, or `` for the baseline."""
    if k == 0:
        return ""
    return f"{k} % suspects" if removal_of(arm) == SUSPECTS else f"k = {k}"


def arm_title(arm: str, k: int) -> str:
    """An arm with its size: `baseline`, `influence, k = 300`, `suspects, 10 %`, `random, 10 % suspects`."""
    if arm == SUSPECTS:
        return f"suspects, {k} %"
    return ", ".join(part for part in (arm_name(arm), removal_title(arm, k)) if part)


def reader_name(reader: str) -> str:
    """`reader1` → `Reader 1`."""
    return f"Reader {reader.removeprefix('reader')}"


def metric_name(metric: str) -> str:
    """`auc` → `AUC`, `kappa` → `κ`."""
    return {"auc": "AUC", "kappa": "κ"}.get(metric, metric)


def mean_over_seeds(arms: pd.DataFrame) -> pd.DataFrame:
    """Rows of arms.parquet to show: those with seed −1, or an arm's only seed where it has no such row.

    Raises `ValueError` for an arm of several seeds without their mean: no seed is picked silently.
    """
    means = arms[arms["seed"] == -1]
    covered = pd.MultiIndex.from_frame(means[["arm", "k"]].drop_duplicates())
    rest = arms[~pd.MultiIndex.from_frame(arms[["arm", "k"]]).isin(covered)]
    seeds = rest.groupby(["arm", "k"])["seed"].nunique()
    if (seeds > 1).any():
        arm, k = seeds[seeds > 1].index[0]
        raise ValueError(f"arm {arm}, k={k} has several seeds but no row with seed=-1 (their mean)")
    return pd.concat([means, rest], ignore_index=True)


def arm_keys(arms: pd.DataFrame) -> list[tuple[str, int]]:
    """Every (arm, k) in reading order: baseline first, then by removal and k, removals before controls."""
    pairs = arms[["arm", "k"]].drop_duplicates().itertuples(index=False)
    return sorted(((str(arm), int(k)) for arm, k in pairs), key=reading_order)


def reading_order(pair: tuple[str, int]) -> tuple[object, ...]:
    """Sort key of (arm, k)."""
    arm, k = pair
    return _REMOVAL_ORDER.index(removal_of(arm)), k, arm_order(arm)


def blocks(table: pd.DataFrame) -> Iterator[tuple[str, int, pd.DataFrame]]:
    """(removal, k, rows) of a comparison table in reading order; the baseline is a block of its own."""
    removal = table["arm"].map(removal_of)
    for key in dict.fromkeys(zip(removal, table["k"], strict=True)):
        yield key[0], int(key[1]), table[(removal == key[0]) & (table["k"] == key[1])]


def readers_present(arms: pd.DataFrame) -> list[str]:
    """Readers with at least one value on the test set, Reader 1 first."""
    shown = arms[(arms["split"] == "test") & arms["value"].notna()]
    return [reader for reader in READERS if (shown["reader"] == reader).any()]


def result_of(
    arms: pd.DataFrame, arm: str, k: int, *, split: str, reader: str, metric: str, group: str = "all"
) -> Row | None:
    """The one row of arms.parquet for this result (mean over seeds), or None."""
    rows = mean_over_seeds(arms)
    wanted = {"arm": arm, "k": k, "split": split, "reader": reader, "metric": metric, "group": group}
    return _single(rows, wanted)


def comparison_of(
    comparisons: pd.DataFrame,
    arm: str,
    k: int,
    against: str,
    *,
    reader: str = PRIMARY_READER,
    metric: str = PRIMARY_METRIC,
    split: str = "test",
) -> Row | None:
    """The one row of comparisons.parquet for this difference, or None."""
    wanted = {"arm": arm, "k": k, "against": against, "split": split, "reader": reader, "metric": metric}
    return _single(comparisons, wanted)


def _single(frame: pd.DataFrame, wanted: dict[str, object]) -> Row | None:
    chosen = frame
    for column, value in wanted.items():
        chosen = chosen[chosen[column] == value]
    if len(chosen) > 1:
        raise ValueError(f"{len(chosen)} rows for {wanted}; one was expected")
    found = records(chosen)
    return found[0] if found else None


def comparison_table(
    arms: pd.DataFrame, comparisons: pd.DataFrame, removal_summary: pd.DataFrame
) -> pd.DataFrame:
    """One row per arm and k, ready to print or to save as CSV.

    Columns: arm, k, removed_images, removed_fraction (a control removes as many as its k); then for each of
    validation_auc and test <reader>_<metric> the value with `_low`, `_high`; for each contrast of Reader 1
    test AUC (`against_baseline`, `against_class_matched`, `against_random`) the difference with `_low`,
    `_high`, `_p` and, corrected for all k tried, `_p_holm`; note (why a value is missing). Contrasts exist
    for the rows that comparisons.parquet names.
    """
    results = _main_results(arms)
    removed = {(str(row["arm"]), int(row["k"])): row for row in records(removal_summary)}
    nothing = {"removed": 0, "fraction": 0.0}
    unknown = {"removed": pd.NA, "fraction": None}
    rows = []
    for arm, k in arm_keys(arms):
        counts = removed.get((removal_of(arm), k), nothing if k == 0 else unknown)
        row: Row = {
            "arm": arm,
            "k": k,
            "removed_images": counts["removed"],
            "removed_fraction": counts["fraction"],
        }
        notes = []
        for name, split, reader, metric in _result_columns(arms):
            found = results.get((arm, k, split, reader, metric))
            _put(row, name, found, "value")
            if found is not None and has_text(found["note"]):
                notes.append(f"{name}: {found['note']}")
        for against in ("baseline", *CONTROLS):
            difference = comparison_of(comparisons, arm, k, against)
            _put(row, f"against_{against}", difference, "difference")
            for name, source in (("p", "p_value"), ("p_holm", "p_holm")):
                row[f"against_{against}_{name}"] = None if difference is None else difference.get(source)
            if difference is not None and has_text(difference["note"]):
                notes.append(f"against {arm_name(against)}: {difference['note']}")
        row["note"] = "; ".join(notes)
        rows.append(row)
    table = pd.DataFrame(rows)
    numeric = [name for name in table.columns if name not in ("arm", "k", "removed_images", "note")]
    return table.astype({**dict.fromkeys(numeric, "float64"), "removed_images": "Int64"})


def _result_columns(arms: pd.DataFrame) -> Iterator[tuple[str, str, str, str]]:
    yield "validation_auc", "validation", PRIMARY_READER, "auc"
    for reader in readers_present(arms):
        for metric in METRICS:
            yield f"{reader}_{metric}", "test", reader, metric


def _main_results(arms: pd.DataFrame) -> dict[tuple[str, int, str, str, str], Row]:
    """Rows over all visits by (arm, k, split, reader, metric)."""
    rows = mean_over_seeds(arms)
    keyed = {}
    for row in records(rows[rows["group"] == "all"]):
        key = (str(row["arm"]), int(row["k"]), str(row["split"]), str(row["reader"]), str(row["metric"]))
        if key in keyed:
            raise ValueError(f"two rows for {key}; one was expected")
        keyed[key] = row
    return keyed


def _put(row: Row, name: str, found: Row | None, value: str) -> None:
    for column, source in ((name, value), (f"{name}_low", "low"), (f"{name}_high", "high")):
        row[column] = None if found is None else found[source]


def contrasts_present(table: pd.DataFrame) -> list[str]:
    """Which of baseline, class_matched, random the removals are compared with somewhere."""
    return [name for name in ("baseline", *CONTROLS) if table[f"against_{name}"].notna().any()]

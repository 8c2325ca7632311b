"""The frame in which every check reports: one row per problem, columns as `schema.PROBLEM_COLUMNS`."""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from grasp_ray.errors import TrialError
from grasp_ray.trial.schema import PROBLEM_COLUMNS

SHOWN_IN_MESSAGE = 20


def problem_frame(problems: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Problems as a frame; `row` is Int64 and, like `id`, missing where the whole table is concerned."""
    names = [column.name for column in PROBLEM_COLUMNS]
    frame = pd.DataFrame(list(problems), columns=names)
    return frame.astype({name: "Int64" if name == "row" else "str" for name in names})


def raise_if_any(problems: pd.DataFrame, *, of: str = "the trial has") -> None:
    """Raise `TrialError` that gives the number of problems and lists the first 20; none, no error."""
    if problems.empty:
        return
    lines = [describe(problem) for problem in problems.head(SHOWN_IN_MESSAGE).to_dict("records")]
    more = len(problems) - len(lines)
    if more:
        lines.append(f"… and {more} more")
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    raise TrialError(f"{of} {count}:\n  " + "\n  ".join(lines))


def describe(problem: Mapping[Any, Any]) -> str:
    """One problem as a line: table, row, id, column, what is wrong."""
    place = str(problem["table"])
    if not pd.isna(problem["row"]):
        place += f" row {problem['row']}"
    if not pd.isna(problem["id"]):
        place += f" ({problem['id']})"
    if not pd.isna(problem["column"]):
        place += f", {problem['column']}"
    return f"{place}: {problem['problem']}"

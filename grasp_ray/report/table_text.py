"""The comparison table as plain text for a terminal, as LaTeX and as CSV to paste into a paper."""

import pandas as pd

from grasp_ray.evaluation.arm_names import BASELINE, INFLUENCE, REMOVALS, SUSPECTS
from grasp_ray.report.formats import MISSING, count, interval, is_missing, number, p_value, percent
from grasp_ray.report.tables import (
    Row,
    arm_name,
    arm_title,
    blocks,
    contrasts_present,
    reader_name,
    records,
)

VALUE_DIGITS = {"auc": 3, "kappa": 2}
INTERVAL_DIGITS = 2
DIFFERENCE_DIGITS = 3


def result_columns(table: pd.DataFrame) -> list[str]:
    """Result columns of a comparison table in reading order: test results, then validation AUC."""
    tested = [f"{reader}_{metric}" for reader in ("reader1", "reader2") for metric in ("kappa", "auc")]
    return [*(name for name in tested if name in table.columns), "validation_auc"]


def comparison_text(
    table: pd.DataFrame, *, chosen_k: int, chosen_arm: str = INFLUENCE, confidence: float = 0.95
) -> str:
    """A comparison table (`tables.comparison_table`) for the terminal, at most 110 columns wide.

    Each removal is a block with its controls; `*` marks the arm chosen on validation. Brackets hold
    intervals of that confidence. A second block gives the paired differences in Reader 1 test AUC.
    """
    columns = result_columns(table)
    header = ["", *(column_title(name) for name in columns)]
    body: list[list[str] | str] = []
    chosen = (chosen_arm, chosen_k)
    for removal, k, block in blocks(table):
        if k:
            first = records(block)[0]
            removed = f"{count(first['removed_images'])} images ({percent(first['removed_fraction'])})"
            what = f"{k} % most suspect visits" if removal == SUSPECTS else f"top {k}"
            body.append(f"{what} removed: {removed}".replace("\u00a0", " "))
        body += [
            [_arm_cell(row, chosen), *(_result_cell(row, name) for name in columns)] for row in records(block)
        ]
    lines = _aligned(header, body)
    legend = f"{100 * confidence:.0f} % intervals in brackets. * chosen on validation AUC alone."
    return "\n".join([*lines, "", legend, *_difference_lines(table, chosen), *_note_lines(table)])


def column_title(name: str) -> str:
    """`reader1_auc` → `Reader 1 AUC`."""
    if name == "validation_auc":
        return "validation AUC"
    reader, metric = name.split("_")
    return f"{reader_name(reader)} {'AUC' if metric == 'auc' else 'κ'}"


def is_chosen(row: Row, chosen: tuple[str, int]) -> bool:
    """Whether the row is that of the chosen arm; with k = 0 that is the baseline, whatever the arm."""
    arm, k = chosen
    return bool(row["arm"] == (arm if k else BASELINE) and row["k"] == k)


def _arm_cell(row: Row, chosen: tuple[str, int]) -> str:
    mark = "*" if is_chosen(row, chosen) else " "
    return f"{mark} {arm_name(str(row['arm']))}"


def _result_cell(row: Row, name: str) -> str:
    metric = name.rpartition("_")[2]
    value = number(row[name], VALUE_DIGITS[metric], zero=False)
    bounds = interval(row[f"{name}_low"], row[f"{name}_high"], INTERVAL_DIGITS, zero=False)
    return f"{value} {bounds}".rstrip()


def _aligned(header: list[str], body: list[list[str] | str]) -> list[str]:
    rows = [header, *(line for line in body if not isinstance(line, str))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]

    def joined(cells: list[str]) -> str:
        padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        return "  ".join(padded).rstrip()

    rule = "─" * (sum(widths) + 2 * (len(widths) - 1))
    return [joined(header), rule, *(line if isinstance(line, str) else joined(line) for line in body)]


def _difference_cell(row: Row, against: str) -> str:
    name = f"against_{against}"
    if is_missing(row[name]):
        return MISSING
    value = number(row[name], DIFFERENCE_DIGITS, signed=True, zero=False)
    bounds = interval(row[f"{name}_low"], row[f"{name}_high"], DIFFERENCE_DIGITS, signed=True, zero=False)
    return f"{value} {bounds} {p_value(row[f'{name}_p'])}"


def _difference_lines(table: pd.DataFrame, chosen: tuple[str, int]) -> list[str]:
    against = contrasts_present(table)
    compared = table[
        table["arm"].isin(REMOVALS) & table[[f"against_{name}" for name in against]].notna().any(axis=1)
    ]
    if not against or compared.empty:
        return []
    header = ["", *(f"against {arm_name(name)}" for name in against)]
    body: list[list[str] | str] = [
        [
            f"{'*' if is_chosen(row, chosen) else ' '} {_short_title(row)}",
            *(_difference_cell(row, name) for name in against),
        ]
        for row in records(compared)
    ]
    return ["", "Difference in Reader 1 test AUC, paired over the same visits:", *_aligned(header, body)]


def _short_title(row: Row) -> str:
    return f"{row['k']} % visits" if row["arm"] == SUSPECTS else f"top {row['k']}"


def _note_lines(table: pd.DataFrame) -> list[str]:
    noted = table[table["note"] != ""]
    return [f"{arm_title(str(row['arm']), int(row['k']))}: {row['note']}" for row in records(noted)]


def comparison_csv(table: pd.DataFrame) -> str:
    """The comparison table with all columns at full precision; a missing number is empty."""
    return table.to_csv(index=False, lineterminator="\n")


def comparison_latex(table: pd.DataFrame, *, chosen_k: int, chosen_arm: str = INFLUENCE) -> str:
    r"""The comparison table as a LaTeX tabular (needs booktabs); the chosen arm is bold."""
    columns = result_columns(table)
    lines = [
        r"% needs \usepackage{booktabs}",
        rf"\begin{{tabular}}{{lr{'c' * len(columns)}}}",
        r"\toprule",
        " & ".join(["Arm", "Images removed", *(_latex(column_title(name)) for name in columns)]) + r" \\",
    ]
    for removal, k, block in blocks(table):
        lines.append(r"\midrule")
        for row in records(block):
            what = f"{k} % of visits" if removal == SUSPECTS else f"Top {k}"
            label = arm_name(str(row["arm"])) if k == 0 else f"{what}, {arm_name(str(row['arm']))}"
            removed = f"{count(row['removed_images'])} ({percent(row['removed_fraction'])})"
            cells = [
                _latex(cell) for cell in [label, removed, *(_result_cell(row, name) for name in columns)]
            ]
            if is_chosen(row, (chosen_arm, chosen_k)):
                cells = [rf"\textbf{{{cell}}}" for cell in cells]
            lines.append(" & ".join(cells) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _latex(text: str) -> str:
    text = text.replace("\\", r"\textbackslash ")
    for plain, written in {
        "%": r"\%",
        "&": r"\&",
        "_": r"\_",
        "#": r"\#",
        "κ": r"$\kappa$",
        "−": "$-$",
        "–": "--",
        "\u00a0": "~",
    }.items():
        text = text.replace(plain, written)
    return text

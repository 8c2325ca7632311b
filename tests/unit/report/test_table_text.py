import io
from collections.abc import Callable

import pandas as pd
import pytest

from grasp_ray.report.inputs import ReportInputs
from grasp_ray.report.table_text import comparison_csv, comparison_latex, comparison_text
from grasp_ray.report.tables import comparison_table


@pytest.fixture(scope="module")
def table(report_inputs: ReportInputs) -> pd.DataFrame:
    return comparison_table(report_inputs.arms, report_inputs.comparisons, report_inputs.removal_summary)


def test_the_terminal_table_fits_110_columns_and_marks_the_chosen_arm_once(table: pd.DataFrame) -> None:
    lines = comparison_text(table, chosen_k=300).splitlines()
    assert max(map(len, lines)) <= 110
    marked = [line for line in lines if line.startswith("* ")]
    assert len(marked) == 2  # its results and its differences
    assert ".902 [.86, .94]" in marked[0]
    assert "+.055 [+.019, +.091] p = 0.003" in marked[1]
    assert "top 300 removed: 2,291 images (8.2 %)" in lines


def test_cells_of_a_column_start_at_the_same_place(table: pd.DataFrame) -> None:
    lines = comparison_text(table, chosen_k=300).splitlines()
    starts = {line.index("]  ") for line in lines[2:18] if "[" in line}
    assert len(starts) == 1


def test_without_a_chosen_k_the_baseline_is_marked(table: pd.DataFrame) -> None:
    lines = comparison_text(table, chosen_k=0).splitlines()
    assert [line.split()[1] for line in lines if line.startswith("* ")] == ["baseline"]


def test_chosen_suspects_are_marked_in_their_own_block(small_inputs: Callable[..., ReportInputs]) -> None:
    inputs = small_inputs(percents=(10,), chosen_k=10, chosen_arm="suspects")
    table = comparison_table(inputs.arms, inputs.comparisons, inputs.removal_summary)
    lines = comparison_text(table, chosen_k=10, chosen_arm="suspects").splitlines()
    marked = [line.split("  ")[0] for line in lines if line.startswith("* ")]
    assert marked == ["* suspects", "* 10 % visits"]
    assert max(map(len, lines)) <= 110
    assert any(line.startswith("10 % most suspect visits removed: ") for line in lines)
    latex = comparison_latex(table, chosen_k=10, chosen_arm="suspects")
    assert latex.count(r"\textbf") == 7
    assert r"\textbf{10 \% of visits, suspects}" in latex


def test_no_comparison_no_second_block(small_inputs: Callable[..., ReportInputs]) -> None:
    inputs = small_inputs()
    bare = comparison_table(inputs.arms, inputs.comparisons.head(0), inputs.removal_summary)
    assert "Difference" not in comparison_text(bare, chosen_k=300)


def test_the_csv_reads_back_at_full_precision(table: pd.DataFrame) -> None:
    read = pd.read_csv(io.StringIO(comparison_csv(table)), dtype={"removed_images": "Int64"})
    pd.testing.assert_frame_equal(
        read.drop(columns="note"), table.drop(columns="note"), check_dtype=False, rtol=0, atol=0
    )


def test_every_latex_row_has_as_many_cells_as_the_header(table: pd.DataFrame) -> None:
    text = comparison_latex(table, chosen_k=300)
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len(rows) == 1 + len(table)
    assert {row.count(" & ") for row in rows} == {6}
    assert text.isascii()
    assert text.count("{") == text.count("}")
    assert sum(r"\textbf" in row for row in rows) == 1
    assert r"2,291 (8.2~\%)" in text

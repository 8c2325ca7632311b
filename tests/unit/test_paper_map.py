"""docs/paper_map.md names functions and tests that exist, and every row has both."""

import ast
import importlib
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
ROWS = [
    [cell.strip() for cell in line.strip().strip("|").split("|")]
    for line in (REPOSITORY / "docs/paper_map.md").read_text().splitlines()
    if line.startswith("| ") and "`" in line
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:40])
def test_every_equation_has_a_function_and_a_test_that_exist(row: list[str]) -> None:
    functions = re.findall(r"`(grasp_ray\.[\w.]+):(\w+(?:\.\w+)?)`", row[-2])
    tests = re.findall(r"`(tests/[\w/.]+)::(\w+)`", row[-1])
    assert functions, f"no function in {row}"
    assert tests, f"no test in {row}"
    for module, name in functions:
        found = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    for path, name in tests:
        tree = ast.parse((REPOSITORY / path).read_text())
        assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_the_map_covers_sections_1_to_8_of_the_method() -> None:
    assert len(ROWS) >= 36

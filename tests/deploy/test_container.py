"""The container recipe: pinned, for the project's Python, non-root, and complete. No image is built."""

import re
import tomllib
from pathlib import Path

import pytest

from grasp_ray.training import replay_checkpoint
from tests.deploy.pins import pinned

PROJECT = Path(__file__).parents[2]
RECIPE = (PROJECT / "deploy/container/Dockerfile").read_text()
INSTRUCTIONS = re.sub(r"\\\n\s*", "", RECIPE).splitlines()
IGNORE_RULES = (PROJECT / ".dockerignore").read_text().splitlines()[1:]


def of_kind(name: str) -> list[str]:
    return [line.removeprefix(f"{name} ") for line in INSTRUCTIONS if line.startswith(f"{name} ")]


def test_the_python_is_exact_and_the_projects() -> None:
    (base,) = of_kind("FROM")
    minor = re.fullmatch(r"python:(3\.\d+)\.\d+-slim-\w+", base)
    assert minor is not None
    with (PROJECT / "pyproject.toml").open("rb") as file:
        assert tomllib.load(file)["project"]["requires-python"].startswith(f">={minor[1]},<")


def test_every_package_is_pinned_and_comes_from_the_users_own_index() -> None:
    (install,) = [line for line in of_kind("RUN") if "pip install" in line]
    assert "--constraint constraints.txt --editable '.[server]'" in re.sub(" +", " ", install)
    assert {"flask-wtf", "psycopg-binary", "boto3"} <= pinned().keys()
    assert "index" not in RECIPE
    assert "http" not in RECIPE


def test_runs_in_the_image_name_the_commit_it_was_built_from(monkeypatch: pytest.MonkeyPatch) -> None:
    assert of_kind("ARG") == ['commit=""']
    assert "GRASP_RAY_COMMIT=$commit" in INSTRUCTIONS[-1]
    monkeypatch.setenv("GRASP_RAY_COMMIT", "abc")
    monkeypatch.setattr(replay_checkpoint, "CHECKOUT", Path("/nowhere"))
    assert replay_checkpoint.git_commit() == "abc"


def test_it_runs_without_root() -> None:
    assert of_kind("USER") == ["1000:1000"]
    afterwards = INSTRUCTIONS[INSTRUCTIONS.index("USER 1000:1000") + 1 :]
    assert {line.partition(" ")[0] for line in afterwards if line} == {"ARG", "ENV"}


@pytest.mark.parametrize("source", [name for line in of_kind("COPY") for name in line.split()[:-1]])
def test_what_is_copied_exists_and_is_let_through(source: str) -> None:
    assert (PROJECT / source).exists()
    assert f"!{source}" in IGNORE_RULES


def test_nothing_else_of_the_checkout_is_let_through() -> None:
    copied = {f"!{name}" for line in of_kind("COPY") for name in line.split()[:-1]}
    assert IGNORE_RULES[0] == "*"
    assert {rule for rule in IGNORE_RULES if rule.startswith("!")} == copied

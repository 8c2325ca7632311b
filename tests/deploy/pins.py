"""The versions in constraints.txt, which every way of deployment must use."""

from pathlib import Path

PROJECT = Path(__file__).parents[2]


def pinned() -> dict[str, str]:
    """Version by package name in lower case; a line that pins no exact version is an error."""
    lines = [
        line
        for line in (PROJECT / "constraints.txt").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    return {name.lower(): version for name, version in (line.split("==") for line in lines)}

"""The config refuses what it does not know, by full key, all at once, before any work starts."""

from pathlib import Path

import pytest

from grasp_ray.config import load_config, settings_page
from grasp_ray.errors import ConfigError

REPOSITORY = Path(__file__).parents[2]
CONFIGS = sorted((REPOSITORY / "conf").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_shipped_config_is_valid(path: Path) -> None:
    assert load_config(str(path)).run.name


def test_paper_config_states_the_published_recipe() -> None:
    config = load_config(str(REPOSITORY / "conf/paper.yaml"))
    assert (config.train.learning_rate, config.train.weight_decay) == (1e-6, 1e-4)
    assert (config.train.epochs, config.train.batch_size_visits, config.train.num_workers) == (100, 4, 4)
    assert config.model.embedding_dim == 768
    assert config.prune.ks == (100, 200, 300, 400, 500)


def test_override_replaces_a_value() -> None:
    config = load_config(str(REPOSITORY / "conf/demo.yaml"), ["prune.ks=[3,7]", "train.learning_rate=3e-4"])
    assert config.prune.ks == (3, 7)
    assert config.train.learning_rate == 3e-4


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("train.epoch=3", "train.epoch is not a setting"),
        ("train.epochs=abc", "train.epochs='abc'"),
        ("train.epochs=0", "train.epochs=0"),
        ("run.name=../up", "run.name='../up'"),
        ("epochs", "'epochs' is no override"),
    ],
)
def test_a_mistake_is_named_by_its_full_key(override: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named.replace(".", r"\.")):
        load_config(str(REPOSITORY / "conf/demo.yaml"), [override])


def test_all_mistakes_are_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(str(REPOSITORY / "conf/demo.yaml"), ["train.epoch=3", "model.attention=max"])
    assert "train.epoch" in str(caught.value)
    assert "model.attention" in str(caught.value)


def test_missing_file_is_named() -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml does not exist"):
        load_config("nowhere.yaml")


def test_weights_file_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRASP_RAY_HOME", str(tmp_path))
    config = load_config(str(REPOSITORY / "conf/demo.yaml"), ["model.weights=w/encoder.safetensors"])
    assert config.model.weights == str(tmp_path / "w/encoder.safetensors")


def test_settings_page_is_up_to_date() -> None:
    page = (REPOSITORY / "docs/settings.md").read_text()
    assert page == settings_page(), "make docs writes it anew"

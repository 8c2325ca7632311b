"""Encoders by name, their weights by file, and what a wrong name or file says."""

from pathlib import Path

import pytest
import safetensors.torch
import torch

from grasp_ray.errors import ConfigError, StorageError
from grasp_ray.mil.encoder import build_encoder
from grasp_ray.mil.settings import ModelSettings


def settings(encoder: str = "test_convnext", **values: object) -> ModelSettings:
    return ModelSettings.model_validate({"encoder": encoder, "weights": "none", **values})


@pytest.mark.parametrize("encoder", ["test_convnext", "test_vit", "mobilenetv2_035", "resnet10t"])
def test_an_encoder_yields_its_num_features_per_image(encoder: str) -> None:
    built = build_encoder(settings(encoder), image_side_px=64).eval()
    with torch.no_grad():
        features = built(torch.zeros(2, 3, 64, 64))
    assert features.shape == (2, built.num_features)


def test_a_vit_is_built_for_the_photos_side() -> None:
    """Position embeddings depend on the side, so a ViT of another side would refuse the photos."""
    small = build_encoder(settings("test_vit"), image_side_px=64)
    large = build_encoder(settings("test_vit"), image_side_px=96)
    shapes = [encoder.state_dict()["pos_embed"].shape[1] for encoder in (small, large)]
    assert shapes[1] - 1 == (shapes[0] - 1) * 96**2 // 64**2


def test_a_misspelt_encoder_is_refused_with_near_names() -> None:
    with pytest.raises(
        ConfigError, match=r"model\.encoder=convnext_tinny is not a timm model.*convnext_tiny"
    ):
        build_encoder(settings("convnext_tinny"), image_side_px=64)


def test_options_that_timm_refuses_are_named() -> None:
    with pytest.raises(ConfigError, match=r"test_convnext cannot be built with .*no_such_option"):
        build_encoder(settings(encoder_options={"no_such_option": 1}), image_side_px=64)


def test_an_option_without_a_value_is_refused() -> None:
    with pytest.raises(ValueError, match="norm_layer:groupnorm has no value"):
        settings(encoder_options={"norm_layer:groupnorm": None})


def test_weights_from_a_file_are_the_files_tensors(tmp_path: Path) -> None:
    torch.manual_seed(5)
    source = build_encoder(settings(), image_side_px=64)
    file = tmp_path / "encoder.safetensors"
    safetensors.torch.save_file(source.state_dict(), file)
    loaded = build_encoder(settings(weights=str(file)), image_side_px=64).state_dict()
    for name, tensor in source.state_dict().items():
        assert torch.equal(loaded[name], tensor), name


def test_a_missing_weights_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"absent\.safetensors is missing"):
        build_encoder(settings(weights=str(tmp_path / "absent.safetensors")), image_side_px=64)


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "vit.safetensors"
    safetensors.torch.save_file(build_encoder(settings("test_vit"), image_side_px=64).state_dict(), file)
    with pytest.raises(ConfigError, match=r"vit\.safetensors does not fit the encoder.*model\.encoder"):
        build_encoder(settings(weights=str(file)), image_side_px=64)


def test_one_missing_tensor_is_refused(tmp_path: Path) -> None:
    tensors = build_encoder(settings(), image_side_px=64).state_dict()
    lost = sorted(tensors)[0]
    del tensors[lost]
    file = tmp_path / "partial.safetensors"
    safetensors.torch.save_file(tensors, file)
    with pytest.raises(ConfigError, match=lost.replace(".", r"\.")):
        build_encoder(settings(weights=str(file)), image_side_px=64)


@pytest.mark.parametrize(
    "content", [b"", b"no safetensors file", b"\xff" * 64], ids=["empty", "text", "noise"]
)
def test_a_file_that_holds_no_safetensors_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "broken.safetensors"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"broken\.safetensors is not a safetensors file"):
        build_encoder(settings(weights=str(file)), image_side_px=64)


def test_the_imagenet_weights_of_mobilenetv2_load_strictly(shared_data: Path) -> None:
    """All 260 tensors (batch counters aside) come from the file; features then differ between photos."""
    file = shared_data / "weights" / "mobilenetv2_035_imagenet_notop.safetensors"
    real = settings(
        "mobilenetv2_035", weights=str(file), encoder_options={"pad_type": "same", "bn_eps": 1e-3}
    )
    encoder = build_encoder(real, image_side_px=96).eval()
    stored = safetensors.torch.load_file(file)
    state = {k: v for k, v in encoder.state_dict().items() if not k.endswith("num_batches_tracked")}
    assert len(state) == 260
    for name, tensor in state.items():
        assert torch.equal(tensor, stored[name]), name
    with torch.no_grad():
        features = encoder(torch.stack([torch.zeros(3, 96, 96), torch.ones(3, 96, 96)]))
    assert features.isfinite().all()
    assert (features[0] - features[1]).abs().max() > 0.1

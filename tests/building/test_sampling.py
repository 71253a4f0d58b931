"""Sampling sources through diffusers pipelines: the same images whatever is stopped, and commands for the rest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gmbench.building.pipelines import sample_source
from gmbench.data.cards import find_dataset
from gmbench.errors import DataError, UnavailableError
from gmbench.support.progress import Progress


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small DDPM with random weights, as a folder that diffusers reads."""
    import torch
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    torch.manual_seed(0)
    blocks = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    unet = UNet2DModel(sample_size=32, layers_per_block=1, block_out_channels=(8, 8), norm_num_groups=4, **blocks)
    folder = tmp_path_factory.mktemp("pipeline")
    DDPMPipeline(unet, DDPMScheduler(num_train_timesteps=10)).save_pretrained(folder)
    return str(folder)


def sample(out: Path, pipeline: str, n: int, slug: str = "gm-cifar10") -> list[np.ndarray]:
    """The images of a source, in order."""
    folder = sample_source(find_dataset(slug), "ddpm", n, out, "cpu", Progress(), 4, 2, pipeline)
    return [np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))]


def test_an_image_is_decided_by_its_number(pipeline: str, tmp_path: Path) -> None:
    """As many images as asked for, all different; more of them, or one that was lost, change nothing in the others."""
    three = sample(tmp_path / "a", pipeline, 3)
    six = sample(tmp_path / "b", pipeline, 6)
    assert len(six) == len({image.tobytes() for image in six}) == 6
    np.testing.assert_array_equal(six[:3], three)
    (tmp_path / "b" / "ddpm" / "000004.png").unlink()
    kept = (tmp_path / "b" / "ddpm" / "000005.png").stat().st_mtime_ns
    np.testing.assert_array_equal(sample(tmp_path / "b", pipeline, 6), six)
    assert (tmp_path / "b" / "ddpm" / "000005.png").stat().st_mtime_ns == kept


def test_images_of_another_size(pipeline: str, tmp_path: Path) -> None:
    """A pipeline for 32 pixels is none for a dataset of 256."""
    with pytest.raises(DataError, match="makes images of 32x32, expected 256x256"):
        sample(tmp_path, pipeline, 1, "gm-chq")


def test_a_pipeline_that_cannot_be_had(tmp_path: Path) -> None:
    """One line that says what to do."""
    with pytest.raises(UnavailableError, match=r"cannot be loaded.*--pipeline"):
        sample(tmp_path, str(tmp_path / "nothing"), 1)


def test_sources_with_a_command_of_their_own(command, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """The card's command is printed whole; nothing is written."""
    arguments = ("data", "sample", "gm-chq", "--source", "nvae", "-n", "5", "--out", str(tmp_path / "out"))
    code, out, _ = command(*arguments)
    assert code == 1
    assert find_dataset("gm-chq").generators["nvae"].sample in out
    assert not (tmp_path / "out").exists()
    code, _, err = command("data", "sample", "gm-chq", "--source", "nvea", "-n", "5", "--out", str(tmp_path))
    assert code == 2
    assert "no source of gm-chq named 'nvea'. Nearest: nvae" in err


def test_the_pipelines_of_the_cards() -> None:
    """Those of the issue: DDPM, NCSN++ and LDM where diffusers has them."""
    found = {
        (slug, name)
        for slug in ("gm-cifar10", "gm-celeba", "gm-chq", "gm-ffhq")
        for name, source in find_dataset(slug).generators.items()
        if source.pipeline
    }
    assert found == {
        ("gm-cifar10", "ddpm"), ("gm-chq", "ddpm"), ("gm-chq", "ncsnpp"), ("gm-chq", "ldm"), ("gm-ffhq", "ncsnpp")
    }  # fmt: skip

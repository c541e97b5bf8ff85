"""Every example runs, leaves the pictures and figures that it promises, and is in the gallery."""

import inspect
import json
import math
import re

import numpy as np
import pytest
from PIL import Image
from script_modules import ROOT, module_of

from pyrovae.cli import script

EXAMPLES = sorted(path.stem for path in (ROOT / "scripts" / "examples").glob("*.py"))
# By script, options with which it takes a second or two on the digits.
TINY = {
    "anomaly_detection": "--normal [0,1] --epochs 1 --num_data 20 --num_samples 5 --refinement_steps 2",
    "autoencoder_vs_vae": "--hidden_features [8] --epochs 1 --num_data 60 --columns 3",
    "black_box_vi": "--steps 2 --num_samples 2 --num_simulated 100",
    "compression": "--latent_dim 2 --epochs 1 --betas [0.1,1] --num_data 20",
    "convolutional_vae": "--latent_dim 2 --epochs 1 --shown [1] --num_data 20",
    "denoising": "--latent_dim 2 --epochs 1 --flips [0,0.1] --num_data 12 --num_temperatures 2",
    "embedding": "--latent_dim 2 --epochs 1 --num_learned 100 --num_mapped 50",
    "fully_connected_vae": "--iterations 12 --hidden_features [16,16] --num_data 20",
    "gaussian_decoder": "--latent_dim 2 --epochs 1 --num_data 20 --num_samples 5",
    "inpainting": "--latent_dim 2 --epochs 1 --num_data 4 --num_shown 4 --num_imputations 2 --num_temperatures 2",
    "interpolation": "--latent_dim 2 --epochs 1 --pairs [[2,2],[1,3]] --changes [[4,9]] --steps 3",
    "latent_film": "--iterations 24 --hidden_features [16] --num_frames 5 --num_stills 2 --num_data 50 --columns 3",
    "latent_size": "--latent_dims [2,3] --epochs 1 --num_data 12 --num_samples 5",
    "memorise": "--steps 2 --noises [1] --betas [1] --epochs 1",
    "vae_gan": "--latent_dim 2 --epochs 1 --iterations 2",
}


def promised(module):
    """The files that the docstring says are written."""
    return set(re.findall(r"``([\w-]+\.(?:png|gif|json))``", module.__doc__))


def numbers(thing):
    """All numbers in what JSON holds."""
    if isinstance(thing, dict | list):
        for part in thing.values() if isinstance(thing, dict) else thing:
            yield from numbers(part)
    elif isinstance(thing, int | float):
        yield float(thing)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(TINY))
def test_the_script_leaves_what_it_promises(name, tmp_path, monkeypatch, capsys):
    module = module_of(f"examples/{name}", monkeypatch)
    data = ["--data", "Digits"] if "data" in inspect.signature(module.main).parameters else []
    status = script(module.main, [*data, "--out", str(tmp_path), *TINY[name].split()])
    assert status == 0, capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == promised(module)
    for path in tmp_path.glob("*.png"):
        picture = np.asarray(Image.open(path).convert("L"))
        assert min(picture.shape) >= 150, f"{path.name} is too small to be read"
        assert picture.std() > 0, f"{path.name} is empty"
    results = json.loads((tmp_path / "results.json").read_text())
    assert list(numbers(results))
    assert all(map(math.isfinite, numbers(results)))
    for path in tmp_path.glob("*.gif"):
        with Image.open(path) as film:
            assert film.n_frames == results["frames"] > 1


@pytest.mark.parametrize(
    ("name", "words", "sentence"),
    [
        ("anomaly_detection", "--normal [0,1,2,3,4,5,6,7,8,9]", "normal must be some of the classes and not all"),
        ("anomaly_detection", "--quantile 2", "quantile must be a finite number"),
        ("autoencoder_vs_vae", "--num_data -5", "--num_data: expected an integer of at least 1, but -5 was given"),
        ("black_box_vi", "--steps 0", "--steps: expected an integer of at least 1, but 0 was given"),
        ("denoising", "--flips [1.5]", "flips must be a finite number of at least 0 and at most 1"),
        ("embedding", "--latent_dim 1", "latent_dim must be an integer of at least 2"),
        ("embedding", "--num_mapped 5", "num_mapped must be an integer of at least 31"),
        ("interpolation", "--changes [[4,77]]", "changes must be of classes with two test images or more, but 77"),
        ("memorise", "--noises [-1]", "noises must be a finite number above 0"),
        ("vae_gan", "--lr -1", "lr must be a finite number above 0"),
        *((name, "--seed -1", "seed must be an integer of at least 0") for name in EXAMPLES),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_trained(
    name, words, sentence, tmp_path, monkeypatch, capsys
):
    module = module_of(f"examples/{name}", monkeypatch)
    data = ["--data", "Digits"] if "data" in inspect.signature(module.main).parameters else []
    monkeypatch.setattr(module, "fit", None)
    assert script(module.main, [*data, "--out", str(tmp_path), *words.split()]) == 2
    told = capsys.readouterr().err
    assert sentence in told
    assert told.count("\n") == 1


def test_every_example_is_tried_and_has_its_place_in_the_gallery():
    assert sorted(TINY) == EXAMPLES
    gallery = (ROOT / "docs" / "gallery.md").read_text()
    for name in EXAMPLES:
        assert f"scripts/examples/{name}.py" in gallery
        assert f"images/gallery/{name}.png" in gallery
        assert (ROOT / "docs" / "images" / "gallery" / f"{name}.png").stat().st_size < 150_000


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_script_is_thin(name):
    assert len((ROOT / "scripts" / "examples" / f"{name}.py").read_text().splitlines()) <= 130

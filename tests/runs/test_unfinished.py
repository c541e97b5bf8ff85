"""The state of an adaptive evaluation on disk: the same again, and never that of something else."""

import pytest
import torch
from adaptive_estimates import adaptive

from pyrovae import VAE, Bernoulli, DiagonalNormal, InputError, StandardNormal
from pyrovae.runs import AdaptiveStateFile

X = (torch.arange(24).reshape(6, 4) % 3 == 0).float()


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(0)
    return VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "evaluation" / "test-adaptive.safetensors"


@pytest.fixture
def state(vae, path):
    state = adaptive(vae.model, vae.guide, X, 0.5, num_draws=3).state
    AdaptiveStateFile(path, vae, (X,), seed=0, num_draws=3).save(state)
    return state


@pytest.mark.slow
def test_it_comes_back_as_it_was(vae, path, state):
    again = AdaptiveStateFile(path, vae, (X,), seed=0, num_draws=3).load()
    assert again.keys() == state.keys()
    for name, tensor in state.items():
        assert again[name].dtype == tensor.dtype
        assert torch.equal(again[name].nan_to_num(-1.0), tensor.nan_to_num(-1.0))
    assert adaptive(vae.model, vae.guide, X, 0.5, state=again, num_draws=3).within_target
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_there_is_none_at_first(vae, path):
    assert AdaptiveStateFile(path, vae, (X,)).load() is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "changed"),
    [
        ("weights", {"program": VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))}),
        ("data", {"data": (1 - X,)}),
        ("data", {"data": (X[:5],)}),
        ("data", {"data": (X, torch.zeros(6))}),
        ("seed", {"seed": 1}),
        ("num_draws", {"num_draws": 4}),
    ],
)
def test_that_of_something_else_is_refused(vae, path, state, what, changed):
    told = {"program": vae, "data": (X,), "seed": 0, "num_draws": 3} | changed
    with pytest.raises(InputError, match=f"was written for other {what}; remove it to start again$") as error:
        AdaptiveStateFile(path, **told).load()
    assert str(path) in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"", b"x" * 100])
def test_a_broken_file_is_refused(vae, path, state, content):
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"cannot be read: .*; remove it to start again"):
        AdaptiveStateFile(path, vae, (X,), seed=0, num_draws=3).load()


def test_a_file_of_weights_is_none(vae, path):
    from safetensors.torch import save_file

    path.parent.mkdir()
    save_file(vae.state_dict(), path, metadata={"format": "pyrovae 1"})
    with pytest.raises(InputError, match="must have format"):
        AdaptiveStateFile(path, vae, (X,)).load()

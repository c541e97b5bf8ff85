"""The choice between two kernels of a linear layer: the faster one, the same in every process of a machine."""

import time

import pytest
import torch

from pyrovae import linear_kernels
from pyrovae.linear_kernels import onednn_linear, prefers_onednn
from pyrovae.matmul import without_onednn

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch has no oneDNN here")
X, WEIGHT = torch.randn(128, 256), torch.randn(256, 256)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    linear_kernels._choice.cache_clear()
    yield tmp_path / "pyrovae" / "linear_kernels"
    linear_kernels._choice.cache_clear()


def slower(function, seconds=0.01):
    def slow(*args):
        time.sleep(seconds)
        return function(*args)

    return slow


@pytest.mark.parametrize("slow", ["torch", "oneDNN"])
def test_the_faster_kernel_is_chosen_and_the_choice_is_kept(monkeypatch, folder, slow):
    module, name = (torch, "mm") if slow == "torch" else (linear_kernels, "onednn_linear")
    with monkeypatch.context() as patched:
        patched.setattr(module, name, slower(getattr(module, name)))
        assert prefers_onednn(X, WEIGHT) == (slow == "torch")
    (kept,) = (path for path in folder.rglob("*") if path.is_file())
    assert kept.read_text() == ("torch" if slow == "oneDNN" else "oneDNN")
    linear_kernels._choice.cache_clear()  # as in another process, where the times are no longer asked for
    monkeypatch.setattr(linear_kernels, "_is_faster", None)
    assert prefers_onednn(X, WEIGHT) == (slow == "torch")
    assert prefers_onednn(torch.randn(200, 256), WEIGHT) == (slow == "torch")  # between the same powers of 2


def test_of_two_processes_that_choose_at_once_the_first_one_decides(monkeypatch, folder):
    def meanwhile(product):
        (of_machine,) = folder.iterdir() if folder.exists() else [folder / linear_kernels._machine()]
        of_machine.mkdir(parents=True, exist_ok=True)
        (of_machine / "-".join(str(int(part)) for part in product)).write_text("oneDNN")
        return False

    monkeypatch.setattr(linear_kernels, "_is_faster", meanwhile)
    assert prefers_onednn(X, WEIGHT)


def test_a_choice_that_cannot_be_kept_holds_for_the_process(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    found = prefers_onednn(X, WEIGHT)
    monkeypatch.setattr(linear_kernels, "_is_faster", None)
    assert prefers_onednn(X, WEIGHT) == found


def test_layouts_and_threads_have_choices_of_their_own_and_small_products_none(folder):
    prefers_onednn(X, WEIGHT)
    prefers_onednn(X, WEIGHT.t())
    prefers_onednn(X.t().contiguous().t(), WEIGHT)
    assert len([path for path in folder.rglob("*") if path.is_file()]) == 3
    prefers_onednn(X[:2], WEIGHT)
    with without_onednn():
        assert not prefers_onednn(X, WEIGHT[:200])
    assert len([path for path in folder.rglob("*") if path.is_file()]) == 3


@pytest.mark.parametrize("x", [X, X.t().contiguous().t(), torch.randn(128, 300)[:, :256]], ids=["C", "F", "slice"])
@pytest.mark.parametrize("bias", [None, torch.randn(256)], ids=["no bias", "bias"])
def test_both_kernels_compute_the_same(x, bias):
    expected = torch.nn.functional.linear(x, WEIGHT, bias)
    torch.testing.assert_close(onednn_linear(x, WEIGHT, bias), expected, rtol=1e-4, atol=1e-3)

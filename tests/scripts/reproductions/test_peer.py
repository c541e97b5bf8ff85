"""The peers of ``log_marginal``: the reference by hand is exact, and what does not agree is called so."""

import ast
import importlib
import math

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from script_modules import ROOT, module_of

from pyrovae import MLP, VAE, Bernoulli, DiagonalNormal, StandardNormal
from pyrovae.cli import script

SCRIPTS = ROOT / "scripts" / "reproductions"


@pytest.fixture
def peers(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("peer_estimators")


@pytest.fixture
def peer(peers, monkeypatch):
    return module_of("reproductions/peer", monkeypatch)


@pytest.fixture
def trained():
    """A VAE of one latent, whose posterior is wide enough for weights of finite variance."""

    def network(in_features, out_features):
        return MLP(in_features, out_features, (5, 4), torch.nn.Tanh)

    vae = VAE(StandardNormal(1), Bernoulli((6,), 1, network), DiagonalNormal((6,), 1, network)).double()
    with torch.no_grad():
        vae.likelihood.network.layers[-1].weight.mul_(4)
        vae.posterior.network.layers[-1].bias.copy_(torch.tensor([0.3, 1.0]))
    return vae.eval()


def by_hand(peers, vae, folder):
    save_file(vae.state_dict(), folder / "weights.safetensors")
    return peers.ByHand.read(folder / "weights.safetensors")


def images(count):
    return torch.rand(count, 6).round().double()


def test_the_reference_shares_no_code():
    tree = ast.parse((SCRIPTS / "numpy_estimator.py").read_text())
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {node.module if isinstance(node, ast.ImportFrom) else node.names[0].name for node in imported}
    assert names == {
        "__future__",
        "dataclasses",
        "math",
        "numpy",
        "numpy.typing",
        "pathlib",
        "safetensors.numpy",
        "typing",
    }


def test_the_reference_and_its_peers_are_right_where_the_answer_is_known(peers, trained, tmp_path):
    reference, K = by_hand(peers, trained, tmp_path), 4000
    x = images(5)
    z = torch.linspace(-12, 12, 20001, dtype=torch.float64)[:, None, None]
    with torch.no_grad():
        joint = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1) + trained.likelihood(z).log_prob(x)
    exact = (joint.logsumexp(0) + math.log(24 / 20000)).numpy()  # (5,), by quadrature
    noise = np.random.default_rng(0)
    estimates = {
        "by hand": peers.by_hand(reference, K, noise)(x),
        "ours": peers.ours(trained, K)(x),
        "Pyro": peers.of_pyro(trained, K)(x),
    }
    for name, found in estimates.items():
        assert (np.abs(found[:, 0] - exact) < 4 * found[:, 1]).all(), name
        assert (found[:, 1] < 0.02).all(), name


def test_on_the_same_samples_only_rounding_is_between_ours_and_the_reference(peers, trained, tmp_path):
    reference, x = by_hand(peers, trained, tmp_path), images(3)
    for estimate in (peers.ours(trained, 50), peers.of_pyro(trained, 50)):
        assert np.abs(peers.shift(estimate, trained.likelihood, reference, x, 50)).max() < 1e-12
    with torch.no_grad():
        trained.posterior.network.layers[-1].bias[1] += 1e-4
    assert np.abs(peers.shift(peers.ours(trained, 50), trained.likelihood, reference, x, 50)).min() > 1e-8
    assert not trained.likelihood._forward_pre_hooks


def test_errors_are_from_the_spread_and_what_disagrees_is_called_so(peer):
    noise = np.random.default_rng(0)

    def repetitions(nll, spread, claimed):
        values = -nll + spread * noise.standard_normal((8, 400))
        return np.stack((values, np.full_like(values, claimed)), -1)

    ours, like, unlike = repetitions(90, 0.5, 0.1), repetitions(90, 0.5, math.nan), repetitions(90.1, 0.5, 0.1)
    rows = peer.compared({"ours": ours, "like": like, "unlike": unlike})
    assert rows[0]["spread"] == pytest.approx(0.5 / 20, rel=0.05)
    assert rows[0]["error"] == pytest.approx(0.5 / 20 / math.sqrt(8), rel=0.05)
    assert rows[0]["claimed"] == pytest.approx(0.1 / 20)
    assert rows[1]["claimed"] is None
    assert "difference" not in rows[0]
    assert rows[2]["difference"] == pytest.approx(0.1, abs=0.04)
    assert rows[2]["errors"] == pytest.approx(rows[2]["difference"] / math.hypot(rows[0]["error"], rows[2]["error"]))
    findings = peer.agreements(rows)
    assert [holds for _, holds in findings] == [True, False]
    assert "like, and log_marginal agree" in findings[0][0]
    assert "unlike, and log_marginal do not agree" in findings[1][0]


def test_pythae_is_left_out_where_it_is_not_installed(peer, peers, trained, tmp_path, monkeypatch, capsys):
    def missing(vae):
        raise ImportError("No module named 'pythae'")

    monkeypatch.setattr(peers, "of_pythae", missing)
    reference, x = by_hand(peers, trained, tmp_path), images(3)
    found = peers.contenders(trained, reference, 30, np.random.default_rng(0))
    assert capsys.readouterr().err == "pythae is left out: No module named 'pythae'\n"
    rows = peer.compared({name: np.stack([estimate(x) for _ in range(2)]) for name, (estimate, _) in found.items()})
    assert [row["estimator"].split()[0] for row in rows] == ["pyrovae,", "by", "Pyro"]
    left_out = "pythae was not installed, and is left out."
    assert peer.record(rows, [], 3, 30, 2, 0.0)["notes"][-1] == left_out
    assert left_out not in peer.record([*rows, {"estimator": "pythae 1.0"}], [], 3, 30, 2, 0.0)["notes"]


@pytest.mark.parametrize("K", [30, 150])
def test_pythae_draws_as_many_as_it_is_told_to(K, peers, trained, tmp_path):
    trained.float()
    reference = by_hand(peers, trained, tmp_path)
    found = peers.contenders(trained, reference, K, np.random.default_rng(0))
    name = next((name for name in found if "pythae" in name), None)
    if name is None:
        pytest.skip("pythae is not installed")
    estimate, decoder = found[name]
    drawn = []
    hook = decoder.register_forward_pre_hook(lambda _, z: drawn.append(len(z[0])))
    estimate(images(1).float())
    hook.remove()
    assert sum(drawn) == K
    assert np.abs(peers.shift(estimate, decoder, reference, images(3).float(), K)).max() < 1e-5


@pytest.mark.parametrize("option", ["repetitions", "num_samples"])
def test_one_of_them_has_no_spread(option, peer, tmp_path, capsys):
    words = [f"--{option}", "1", "--runs", str(tmp_path), "--out", str(tmp_path)]
    assert script(peer.main, words) == 2
    assert f"{option} must be an integer of at least 2" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())

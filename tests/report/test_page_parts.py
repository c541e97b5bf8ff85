"""Parts of the page: its words, its choice of test images, its plane of codes, its sheets of images."""

import base64
import io
from functools import partial

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from PIL import Image
from torch import nn

from pyrovae import (
    MLP,
    VAE,
    Autoencoder,
    Bernoulli,
    ConditionalVAE,
    DataSet,
    DiagonalNormal,
    Digits,
    HierarchicalVAE,
    InputError,
    SphericalVAE,
    StandardNormal,
    decode,
    encode,
)
from pyrovae.report import program, summary
from pyrovae.report.explorer import colours, explorer
from pyrovae.report.gallery import chosen, gallery
from pyrovae.report.image_sheet import PixelScale, image_sheet
from pyrovae.report.plane import plane_of
from pyrovae.runs import DataRecord, Run
from pyrovae.training import Epoch, History

small = partial(MLP, hidden_features=(8,))
HISTORY = History([Epoch(i, -30.0 + i, -28.0, 2.0, -31.0 + i, -29.0, 2.0, 0.1, 1e-3) for i in (1, 2)])


def vae_of(latents):
    shape = (1, 8, 8)
    return VAE(StandardNormal(latents), Bernoulli(shape, latents, small), DiagonalNormal(shape, latents, small))


def pixels_of(drawn):
    """The images of a sprite, (N, H, W, C)."""
    whole = np.asarray(Image.open(io.BytesIO(base64.b64decode(drawn["png"]))))
    height, width = drawn["height"], drawn["width"]
    rows = whole.reshape(len(whole) // height, height, drawn["columns"], width, -1)
    return rows.transpose(0, 2, 1, 3, 4).reshape(-1, height, width, rows.shape[-1])


@pytest.mark.parametrize("shape", [(1, 3, 4), (3, 3, 4)])
def test_sprites_hold_the_images_in_reading_order(shape):
    x = torch.rand(5, *shape)
    found = pixels_of(image_sheet(PixelScale.of(x)(x), columns=2))
    np.testing.assert_array_equal(found[:5], x.mul(255).round().to(torch.uint8).permute(0, 2, 3, 1))
    assert (found[5:] == 0).all()


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((7,), (2, 7)),
        ((9,), (3, 3)),
        ((3, 128, 64), (64, 32)),
        ((1000,), (16, 64)),
        ((2, 3, 4), (6, 24)),
        ((1,), (1, 1)),
    ],
)
def test_any_data_become_small_images(shape, expected):
    assert PixelScale(0.0, 1.0)(torch.rand(2, *shape)).shape[2:] == expected


def test_data_and_what_is_decoded_have_one_scale():
    pixels = PixelScale.of(torch.tensor([[-2.0, 6.0]]))
    assert pixels(torch.tensor([[2.0, 2.0]])).flatten().tolist() == [128, 128]
    assert pixels(torch.tensor([[-9.0, 9.0]])).flatten().tolist() == [0, 255]
    assert PixelScale.of(torch.tensor([[0.2, 0.4]])) == PixelScale(0.0, 1.0)


def test_the_plane_of_two_latents_is_theirs():
    codes, drawn = torch.randn(100, 2) * 3, torch.randn(50, 2)
    plane = plane_of("z", codes, drawn)
    assert plane.names == ["z[0]", "z[1]"]
    torch.testing.assert_close(plane.coordinates(codes), codes)
    torch.testing.assert_close(plane.codes(codes), codes)
    inside = ((codes - torch.tensor(plane.centre)).abs() <= plane.radius).all(1)
    assert inside.double().mean() > 0.97
    grid = plane.grid(3)
    assert grid[0].tolist() == pytest.approx([plane.centre[0] - plane.radius, plane.centre[1] + plane.radius])
    assert (grid[1] - grid[0]).tolist() == pytest.approx([plane.radius, 0], abs=1e-6)


def test_principal_directions_are_those_of_the_codes():
    torch.manual_seed(1)
    spread = torch.tensor([0.1, 3.0, 0.2, 1.5])
    codes = torch.randn(500, 4) * spread + torch.arange(4.0)
    plane = plane_of("z", codes, None)
    torch.testing.assert_close(plane.axes.abs().round(), torch.eye(4)[[1, 3]])
    torch.testing.assert_close(plane.axes @ plane.axes.T, torch.eye(2))
    torch.testing.assert_close(plane.coordinates(codes).mean(0), torch.zeros(2), atol=1e-4, rtol=0)
    share = codes.var(0) / codes.var(0).sum()
    assert plane.names == [f"direction 1 ({share[1]:.0%})", f"direction 2 ({share[3]:.0%})"]


def test_two_chosen_latents_leave_the_others_at_the_mean():
    codes = torch.randn(100, 5) + 2
    plane = plane_of("z", codes, None, (4, 1))
    z = plane.codes(torch.tensor([[0.5, -1.0]]))[0]
    assert z[[4, 1]].tolist() == [0.5, -1.0]
    torch.testing.assert_close(z[[0, 2, 3]], codes.mean(0)[[0, 2, 3]])


@pytest.mark.parametrize(("latents", "dims"), [((0, 2), 2), ((1, 1), 3), ((-1, 0), 3), ((0, 1), 1), ("pca", 1)])
def test_latents_that_are_not_there_are_refused(latents, dims):
    with pytest.raises(InputError, match=r"^latents must be"):
        plane_of("z", torch.randn(10, dims), None, latents)


def test_codes_that_are_directions_stay_so():
    plane = plane_of("z", nn.functional.normalize(torch.randn(50, 3), dim=1), None)
    assert plane.directions
    torch.testing.assert_close(plane.codes(plane.grid(4)).norm(dim=1), torch.ones(16))
    assert not plane_of("z", torch.randn(50, 3), None).directions


@pytest.fixture(scope="module")
def digits():
    return Digits()


def sheets(drawn):
    return torch.from_numpy(pixels_of(drawn["sheet"])).unflatten(0, (len(drawn["sheets"]), -1))  # (S, N, H, W, 1)


@pytest.mark.slow
def test_a_sheet_for_each_class_is_decoded_with_it(digits):
    vae, skipped = ConditionalVAE((1, 8, 8), 2, likelihood=partial(Bernoulli, network=small)), []
    drawn = explorer(vae, digits, None, torch.arange(3), PixelScale(0.0, 1.0), skipped)
    assert drawn["sheets"] == list(range(10))
    codes = encode(vae.guide, (digits.test[:], digits.test.labels))["z"]
    torch.testing.assert_close(torch.tensor(drawn["points"]), codes, atol=6e-4, rtol=0)
    torch.testing.assert_close(torch.tensor(drawn["places"]), codes[:3], atol=6e-4, rtol=0)
    corner = torch.tensor([[drawn["left"], drawn["top"]]])
    expected = decode(vae.model, {"z": corner}, (1, 8, 8), torch.tensor([4]))
    assert (sheets(drawn)[4, 0].flatten() - expected.mul(255).flatten()).abs().max() <= 1
    assert skipped == []


def test_layers_below_the_explored_one_are_at_their_means(digits):
    vae = HierarchicalVAE((1, 8, 8), 2, dims=(4,))
    drawn = explorer(vae, digits, None, torch.arange(3), PixelScale(0.0, 1.0), [])
    assert drawn["names"] == ["z2[0]", "z2[1]"]
    z2 = torch.tensor([[drawn["left"], drawn["top"]]])
    with torch.no_grad():
        z1 = vae.layers[0](z2).mean
    expected = decode(vae.model, {"z1": z1, "z2": z2}, (1, 8, 8))
    assert (sheets(drawn)[0, 0].flatten() - expected.mul(255).flatten()).abs().max() <= 1


def test_one_latent_has_a_row_of_images_and_directions_have_a_plane(digits):
    line = explorer(vae_of(1), digits, None, torch.arange(3), PixelScale(0.0, 1.0), [])
    assert line["rows"] == 1
    assert line["names"] == ["z[0]", ""]
    sphere = explorer(SphericalVAE((1, 8, 8), 3), digits, None, torch.arange(3), PixelScale(0.0, 1.0), [])
    assert "Codes have length 1" in sphere["description"]


def test_the_gallery_shows_what_is_worth_a_look():
    known = {"log_prob": torch.arange(100.0).flip(0), "pareto_k": torch.zeros(100)}
    known["pareto_k"][50] = 2.0
    positions = chosen(known, 300, 20).tolist()
    assert len(positions) == len(set(positions)) == 20
    assert {96, 97, 98, 99, 0, 1, 2, 3, 50} <= set(positions)
    assert max(positions) > 200
    assert chosen({}, 300, 7).tolist() == [i * 300 // 7 for i in range(7)]
    assert chosen(known, 5, 20).tolist() == [0, 1, 2, 3, 4]


def column(shown, key):
    return next((part["values"] for part in shown["columns"] if part["key"] == key), None)


def test_figures_of_images_beyond_the_evaluation_are_unknown(digits):
    known = {name: torch.arange(5.0) for name in ("log_prob", "elbo", "pareto_k", "standard_error")}
    known["pareto_k"][3] = torch.inf
    shown = gallery(vae_of(2), digits, torch.tensor([0, 3, 7]), known, PixelScale(0.0, 1.0), [])
    assert column(shown, "log_prob") == [0.0, 3.0, None]
    assert column(shown, "pareto_k") == [0.0, None, None]
    assert column(shown, "label") == digits.test.labels[[0, 3, 7]].tolist()
    assert column(shown, "index") == [0, 3, 7]
    assert "of the 5 that were evaluated" in shown["description"]


def test_without_an_evaluation_a_bound_of_few_samples_is_told_as_such(digits):
    shown = gallery(vae_of(2), digits, torch.arange(4), {}, PixelScale(0.0, 1.0), [])
    assert shown["columns"][0]["label"] == "log p(x), bound of 50 samples"
    assert all(bound >= elbo for bound, elbo in zip(column(shown, "log_prob"), column(shown, "elbo"), strict=True))
    skipped = []
    point = gallery(Autoencoder((1, 8, 8), 2), digits, torch.arange(4), {}, PixelScale(0.0, 1.0), skipped)
    assert column(point, "log_prob") is None
    assert "a deterministic encoder has no marginal likelihood" in skipped[0]


class Scalar(nn.Module):
    """A program of someone else's: one number as its code, half of x as its square."""

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
            pyro.sample("left", dist.Normal(z[:, None], 1.0).expand([len(x), 3]).to_event(1), obs=x[:, :3])
            pyro.sample("right", dist.Normal(z[:, None], 1.0).expand([len(x), 3]).to_event(1), obs=x[:, 3:] ** 2)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x.mean(1), 1.0))


def test_what_a_program_cannot_do_is_left_out_with_a_sentence():
    data, skipped = DataSet(torch.randn(60, 6)), []
    drawn = program.pictures(data, DataRecord.of(data), Scalar(), HISTORY, skipped)
    assert set(drawn) == {"training_curves", "latent_map"}
    assert explorer(Scalar(), data, None, torch.arange(3), PixelScale(-3.0, 3.0), skipped) is None
    shown = gallery(Scalar(), data, torch.arange(3), {}, PixelScale(-3.0, 3.0), skipped)
    assert shown["reconstructions"] is None
    assert shown["description"] == "3 of 6 test images: evenly spaced. Logarithms of probabilities are in nats."
    assert len(column(shown, "log_prob")) == 3
    assert [sentence.partition(":")[0] for sentence in skipped] == [
        "No picture of reconstructions",
        "No picture of samples",
        "No sheet of decoded images",
        "No reconstructions of test images",
    ]


def test_colours_are_told_apart_on_both_pages():
    assert colours(10)[8] == "#000000"
    assert "#000000" not in colours(10, dark=True)
    assert len(set(colours(30))) == len(set(colours(30, dark=True))) == 30
    assert colours(0) == []


ENTRY = {
    "split": "test",
    "method": "importance",
    "share_annealed": 0.0,
    "estimator": {"class": "Importance", "num_samples": 100},
    "nll": 20.0,
    "standard_error": 0.5,
    "mc_error": 0.01,
    "bits_per_dim": 0.5,
    "elbo": -21.0,
    "num_data": 20,
    "num_samples": 100,
    "weights": "best",
    "num_evaluations": 2000,
    "pareto_k": {"50%": 0.2, "share_above": 0.0},
    "verdict": "It can be trusted.",
    "caveats": [],
}


def told(tmp_path, digits, history=HISTORY, entry=None, vae=None):
    return summary.next_steps(Run(tmp_path / "a run"), DataRecord.of(digits), vae or vae_of(2), history, entry)


def test_the_first_words_are_the_evaluations_own():
    said = summary.likelihood({**ENTRY, "caveats": ["But no."], "sandwich": {"sentence": "Within 0.1."}})
    assert said["sentence"] == (
        "The negative log-likelihood of 20 test data is 20.00 nats per datum "
        "(±0.50 over the choice of data, ±0.01 over that of samples), or 0.500 bits per dimension."
    )
    assert said["trust"] == ["It can be trusted.", "Within 0.1.", "But no."]
    assert ("ELBO, nats per datum", "−21.00", "") in said["figures"]


def test_what_is_wrong_with_the_model_is_told_once_of_each_kind(digits):
    """The curves know the best epoch, the program of now is better than an evaluation of another day."""
    collapsed = History([Epoch(i, -30.0, -28.0, 2.0, -31.0 + i, -31.0, 0.01, 0.1, 1e-3) for i in (1, 2)])
    entry = {**ENTRY, "health": {"collapse": "Of old.", "baseline": "No better."}}
    first, second = summary.health(vae_of(2), None, collapsed, entry)
    assert first.startswith("The posterior has collapsed: the KL on validation data is 0.01 nats")
    assert second == "No better."
    assert summary.health(vae_of(2), None, HISTORY, None) == []
    found = summary.health(vae_of(2), digits, HISTORY, None)  # which is not trained
    assert len(found) == 1
    assert "carr" in found[0]


def test_the_best_evaluation_is_told_of():
    annealed = {**ENTRY, "method": "annealed", "share_annealed": 1.0}
    assert summary.best_evaluation({"few": ENTRY, "chains": annealed}) == "chains"
    assert summary.best_evaluation({"chains": {**annealed, "nll": None}, "few": ENTRY}) == "few"
    assert summary.best_evaluation({"other": {**ENTRY, "split": "train"}}) is None


def test_what_to_do_next(tmp_path, digits):
    assert [command for _, command in told(tmp_path, digits)] == [
        f"pyrovae train --resume true --epochs 4 --run '{tmp_path / 'a run'}'",
        f"pyrovae evaluate '{tmp_path / 'a run'}'",
    ]
    past = History([*HISTORY.epochs, Epoch(3, -30.0, -28.0, 2.0, -40.0, -29.0, 2.0, 0.1, 1e-3)])
    some = told(tmp_path, digits, past, ENTRY)
    assert some[0][0] == "Of 180 test images 20 were evaluated: publish a number of them all."
    assert some[1][1].startswith("pyrovae diagnose")
    doubtful = {**ENTRY, "num_data": 180, "pareto_k": {"50%": 0.9, "share_above": 0.4}}
    assert told(tmp_path, digits, past, doubtful)[0][1].endswith("--method Adaptive")
    few = {**ENTRY, "num_data": 180, "pareto_k": {"50%": None, "share_above": 0.0}}
    assert told(tmp_path, digits, past, few)[0][1].endswith("--num_samples 5000")


def test_a_collapsed_posterior_and_a_point_are_told_of(tmp_path, digits):
    collapsed = History([Epoch(1, -30.0, -28.0, 2.0, -31.0, -31.0, 0.01, 0.1, 1e-3)])
    assert "collapsed" in told(tmp_path, digits, collapsed)[0][0]
    point = told(tmp_path, digits, collapsed, vae=Autoencoder((1, 8, 8), 2))
    assert [command.split()[1] for _, command in point] == ["refit_prior"]


def test_a_refitted_run_is_repeated_from_the_one_that_it_comes_from(tmp_path):
    run = Run(tmp_path)
    assert summary.reproduction_steps(run)[0][1] == f"pyrovae train --config {tmp_path}/config.yaml --run NEW_FOLDER"
    (tmp_path / "refitted.json").write_text('{"format": 1, "run": "runs/old one"}')
    assert summary.reproduction_steps(run)[0][1] == "pyrovae refit_prior 'runs/old one' --out NEW_FOLDER"
    (tmp_path / "refitted.json").write_text("[1]")
    with pytest.raises(InputError, match=r"refitted\.json must name the run"):
        summary.reproduction_steps(run)

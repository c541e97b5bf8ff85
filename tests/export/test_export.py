"""Encoders and decoders as files: the numbers are PyTorch's, for every program and any number of data."""

import inspect
import json
from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from contracts import image_likelihoods, subclasses
from torch import nn
from tutorial_programs import TutorialVAE, TwoSites

from pyrovae import (
    MLP,
    VAE,
    Autoencoder,
    Bernoulli,
    ConditionalVAE,
    ConvolutionalDecoder,
    ConvolutionalEncoder,
    DataSet,
    DiagonalNormal,
    Digits,
    Flow,
    FlowPosterior,
    GatedMLP,
    HierarchicalVAE,
    InputError,
    MixturePosterior,
    Posterior,
    ResNetDecoder,
    ResNetEncoder,
    SemiSupervisedVAE,
    SphericalUniform,
    StandardNormal,
    encode,
    reconstruct,
    simulate,
)
from pyrovae.cli import main
from pyrovae.export import TOLERANCE, Decoder, Encoder, export_module, export_run, pixel_values
from pyrovae.programs import private_modules, uses_labels

SHAPE, D = (1, 4, 4), 2
COUNTS = (3, 1, 5)
small = partial(MLP, hidden_features=(6,))


def halves(program, shape=SHAPE):
    """Return each half of a program with batches to compare it on."""
    program.eval()
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(max(COUNTS), *shape, generator=generator)
    labels = [torch.arange(len(x))] if uses_labels(program.model) == "always" else []
    latents, _ = simulate(program.model, len(x), (x, *labels) if labels else x)
    with private_modules():
        encoder = Encoder(program, (x, *labels))
        decoder = Decoder(program, latents, shape, *labels)
    codes = [latents[name] for name in decoder.sites]
    for half, parts in ((encoder, [x, *labels]), (decoder, [*codes, *labels])):
        yield half, [tuple(part[:count] for part in parts) for count in COUNTS]


def check(program, format, parts=slice(None)):
    for half, batches in list(halves(program))[parts]:
        exported = export_module(half, batches, half.inputs, half.outputs, format)
        assert exported.difference <= TOLERANCE
        assert all(shape[0] == "batch" for shape in exported.shapes.values())


def vae(likelihood=Bernoulli, posterior=DiagonalNormal, encoder=small, decoder=small, **options):
    q = posterior(SHAPE, D, encoder, **options)
    prior = StandardNormal(D) if q.support is StandardNormal.support else SphericalUniform(D)
    return VAE(prior, likelihood(SHAPE, D, decoder), q)


ENCODERS = {cls.__name__: {"posterior": cls} for cls in subclasses(Posterior) if cls is not FlowPosterior}
ENCODERS |= {
    cls.__name__: {"posterior": FlowPosterior, "flow": cls, "num_layers": 1, "context_features": 1}
    for cls in subclasses(Flow)
    if not cls.__name__.startswith("_")
}
LIKELIHOODS = {
    cls.__name__: partial(cls, levels=3) if "levels" in inspect.signature(cls).parameters else cls
    for cls in image_likelihoods()
    if cls.__module__.startswith("pyrovae.likelihoods")
}


class TestEveryProgram:
    """All with torch.export, of which the ONNX exporter makes its files, and some as ONNX, which is slow."""

    @pytest.mark.slow
    @pytest.mark.parametrize("name", ENCODERS)
    def test_posterior(self, name):
        check(vae(**ENCODERS[name]), "torch", slice(0, 1))

    @pytest.mark.slow
    @pytest.mark.parametrize("name", LIKELIHOODS)
    def test_likelihood(self, name):
        check(vae(LIKELIHOODS[name]), "torch", slice(1, 2))

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("format", "encoder", "decoder"),
        [
            ("torch", GatedMLP, GatedMLP),
            ("onnx", ConvolutionalEncoder, ConvolutionalDecoder),
            ("torch", ResNetEncoder, partial(ResNetDecoder, normalization=nn.BatchNorm2d)),
        ],
    )
    def test_network(self, format, encoder, decoder):
        check(vae(encoder=encoder, decoder=decoder), format)

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("format", "program"),
        [
            ("torch", partial(HierarchicalVAE, inference="ladder")),
            ("torch", ConditionalVAE),
            ("torch", SemiSupervisedVAE),
            ("torch", Autoencoder),
        ],
    )
    def test_program(self, format, program):
        check(program(SHAPE, D), format)

    @pytest.mark.slow
    @pytest.mark.parametrize("program", [TutorialVAE(), TwoSites()], ids=["tutorial", "two sites"])
    def test_program_that_is_not_ours(self, program):
        shape = (1, 8, 8) if isinstance(program, TutorialVAE) else (1,)
        for half, batches in halves(program, shape):
            assert export_module(half, batches, half.inputs, half.outputs, "torch").difference <= TOLERANCE


class TestHalves:
    def test_diagonal_normal(self):
        program = vae().eval()
        x = torch.rand(4, *SHAPE)
        q = program.posterior(x)
        mean, std = Encoder(program, (x,))(x)
        torch.testing.assert_close(mean, q.mean)
        torch.testing.assert_close(std, q.stddev)

    def test_they_reconstruct_as_the_program_does(self):
        program = HierarchicalVAE(SHAPE, D, dims=(3,), inference="ladder").eval()
        x = torch.rand(4, *SHAPE)
        encoder = Encoder(program, (x,))
        assert encoder.outputs == ["z2_mean", "z2_std", "z1_mean", "z1_std"]
        found = dict(zip(encoder.outputs, encoder(x), strict=True))
        for site, mean in encode(program.guide, x).items():
            torch.testing.assert_close(found[f"{site}_mean"], mean)
        decoder = Decoder(program, {"z2": found["z2_mean"], "z1": found["z1_mean"]}, SHAPE)
        assert decoder.inputs == ["z1"]  # the other does not matter, given this one
        torch.testing.assert_close(decoder(found["z1_mean"]), reconstruct(program.model, program.guide, x))
        pyro.clear_param_store()

    def test_a_mixture_is_given_whole(self):
        program = vae(posterior=MixturePosterior).eval()
        x = torch.rand(4, *SHAPE)
        found = dict(zip((encoder := Encoder(program, (x,))).outputs, encoder(x), strict=True))
        weights = found["z_logits"].softmax(-1)
        torch.testing.assert_close((weights.unsqueeze(-1) * found["z_loc"]).sum(1), found["z_mean"])

    def test_labels_that_may_be_missing_are_a_latent(self):
        program = SemiSupervisedVAE(SHAPE, D).eval()
        x = torch.rand(4, *SHAPE)
        encoder = Encoder(program, (x,))
        assert encoder.outputs == ["y_probs", "z_mean", "z_std"]
        torch.testing.assert_close(encoder(x)[0], program.classify(x))
        pyro.clear_param_store()

    def test_a_guide_whose_latents_have_no_mean_is_refused(self):
        class Heavy(nn.Module):
            def model(self, x):
                with pyro.plate("data", len(x)):
                    z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
                    pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

            def guide(self, x):
                with pyro.plate("data", len(x)):
                    pyro.sample("z", NoMean(x, 1.0).to_event(1))

        class NoMean(dist.Normal):
            @property
            def mean(self):
                raise NotImplementedError

        with pytest.raises(InputError, match=r"program must have means .*, but its site 'z' has a NoMean"):
            Encoder(Heavy(), (torch.zeros(3, 1),))


class TestExportModule:
    batches = (torch.rand(3, 4),), (torch.rand(1, 4),)

    def test_what_gives_other_numbers_is_refused(self):
        class Fickle(nn.Module):
            calls = 0

            def forward(self, x):
                Fickle.calls += 1
                return x + Fickle.calls

        with pytest.raises(InputError, match=r"torch gives others of y: they differ by \d"):
            export_module(Fickle(), self.batches, ["x"], ["y"], "torch")

    def test_what_depends_on_values_is_refused_in_one_sentence(self):
        class Choosy(nn.Module):
            def forward(self, x):
                return x if x.sum() > 0 else -x

        with pytest.raises(InputError, match=r"as torch it cannot be recorded for any number of data: ") as error:
            export_module(Choosy(), [(torch.rand(3, 4),)], ["x"], ["y"], "torch")
        assert "\n" not in str(error.value)

    def test_another_format_is_refused(self):
        with pytest.raises(InputError, match="format must be one of onnx, torch"):
            export_module(nn.Linear(4, 1), self.batches, ["x"], ["y"], "tflite")

    def test_missing_packages_are_named(self, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
        with pytest.raises(InputError, match=r"pip install 'pyrovae\[onnx\]', but onnxscript is missing"):
            export_module(nn.Linear(4, 1), self.batches, ["x"], ["y"], "onnx")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "small"
    network = ["--posterior.network.hidden_features", "[8]", "--likelihood.network.hidden_features", "[8]"]
    assert (
        main(["train", "--latent_dim", "2", "--epochs", "1", "--compile", "off", "--run", str(folder), *network]) == 0
    )
    return folder


@pytest.mark.slow
def test_the_command_writes_what_onnxruntime_runs(run, capsys):
    onnxruntime = pytest.importorskip("onnxruntime")
    assert main(["export", str(run)]) == 0
    told = capsys.readouterr().out
    assert told.count("largest difference to PyTorch") == 2
    folder = run / "export"
    assert sorted(path.name for path in folder.iterdir()) == ["decoder.onnx", "encoder.onnx", "onnx.json"]
    described = json.loads((folder / "onnx.json").read_text())
    assert described["data"]["values"] == pixel_values(Digits())
    x = Digits().test[:6]
    encoder, decoder = (onnxruntime.InferenceSession(str(folder / f"{half}.onnx")) for half in ("encoder", "decoder"))
    for session, half in ((encoder, "encoder"), (decoder, "decoder")):
        for part, tensors in (("inputs", session.get_inputs()), ("outputs", session.get_outputs())):
            assert [tensor.name for tensor in tensors] == [entry["name"] for entry in described[half][part]]
            assert [tensor.shape[1:] for tensor in tensors] == [entry["shape"][1:] for entry in described[half][part]]
    mean, _ = encoder.run(None, {"x": x.numpy()})
    (decoded,) = decoder.run(None, {"z": mean})
    from pyrovae.runs import Run

    _, program = Run(run).load()
    torch.testing.assert_close(
        torch.from_numpy(decoded), reconstruct(program.model, program.guide, x), rtol=0, atol=1e-5
    )


@pytest.mark.slow
def test_the_torch_format_goes_where_it_is_told_and_holds_its_own_weights_alone(run, tmp_path):
    written = export_run(run, "torch", tmp_path / "there")
    encoder = torch.export.load(written.encoder)
    assert all("posterior" in name for name in encoder.state_dict)
    mean, std = encoder.module()(torch.zeros(9, 1, 8, 8))
    assert mean.shape == std.shape == (9, 2)
    assert set(written.differences) == {"encoder", "decoder"}


@pytest.mark.slow
def test_bad_input_is_one_sentence(run, tmp_path, capsys):
    assert main(["export", str(tmp_path)]) == 2
    assert "run must be a folder that pyrovae train made" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert main(["export", str(run), "--format", "torch", "--out", str(tmp_path / "file")]) == 2
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "images", "expected"),
    [
        ({"binarization": "threshold"}, torch.arange(256).to(torch.uint8), "1 where v / 255 >= 1/2, else 0"),
        ({"binarization": "static"}, torch.rand(256), "1 with probability v, else 0, for grey values v from 0 to 1"),
        ({}, torch.arange(256).to(torch.uint8), "v / 255 for grey levels v from 0 to 255"),
        ({"dequantize": True}, torch.arange(256).to(torch.uint8), r"(v + u) / 256 for grey levels v from 0 to 255"),
        ({}, torch.randn(256), "as stored"),
    ],
)
def test_pixel_values_say_what_the_data_set_does(options, images, expected):
    data = DataSet(images.reshape(64, 4), **options)
    assert pixel_values(data).startswith(expected)

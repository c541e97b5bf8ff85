"""What is compressed is restored bit for bit or refused in a sentence, and damaged bytes are never returned as data."""

import hashlib
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
import torch

from pyrovae import (
    MLP,
    VAE,
    Bernoulli,
    Categorical,
    ConditionalVAE,
    DiagonalNormal,
    DiscretizedLogistic,
    DiscretizedLogisticMixture,
    FlowPosterior,
    FullCovarianceNormal,
    FunctionalVAE,
    Gaussian,
    GaussianMixture,
    HierarchicalVAE,
    InputError,
    LearnedNormal,
    MixturePosterior,
    NegativeBinomial,
    Poisson,
    SphericalVAE,
    StandardNormal,
    VampPrior,
)
from pyrovae.codec import Codec, Header, compress, compression, decompress
from pyrovae.codec.exact_programs import ExactPrograms

SHAPE = (1, 2, 3)
Small = partial(MLP, hidden_features=(5,))


def vae(likelihood=Bernoulli, posterior=DiagonalNormal, prior=StandardNormal, **options):
    torch.manual_seed(3)
    made = VAE(prior(2), likelihood(SHAPE, 2, Small, **options), posterior(SHAPE, 2, network=Small))
    made.initialize(torch.rand(600, *SHAPE).round())
    return made


def levels(count, dtype=torch.float32, num_data=10):
    index = torch.randint(0, count, (num_data, *SHAPE), generator=torch.Generator().manual_seed(0))
    return index.to(dtype) / (count - 1) if dtype.is_floating_point else index.to(dtype)


def functional():
    """A program of functions, with constants in single precision."""
    decoder, encoder = torch.nn.Linear(2, 6), torch.nn.Linear(6, 2)
    return FunctionalVAE(
        torch.distributions.Normal(torch.zeros(2), 1.0),
        lambda z: torch.distributions.Bernoulli(logits=decoder(z).unflatten(1, SHAPE)),
        lambda x: torch.distributions.Laplace(encoder(x.flatten(1)), 0.3),
    )


def counts(dtype=torch.float32):
    return torch.poisson(torch.full((10, *SHAPE), 3.0), torch.Generator().manual_seed(0)).to(dtype)


@pytest.mark.parametrize(
    ("program", "x"),
    [
        (vae(), levels(2)),
        (vae(), levels(2, torch.bool)),
        (vae(prior=GaussianMixture, posterior=MixturePosterior), levels(2, torch.float64)),
        (vae(prior=partial(VampPrior, num_components=3)), levels(2, torch.uint8)),
        (vae(DiscretizedLogistic, prior=LearnedNormal, scale="network"), levels(256)),
        (vae(DiscretizedLogistic, levels=17), levels(17, torch.uint8)),
        (vae(DiscretizedLogisticMixture, levels=5), levels(5)),
        (vae(Categorical, levels=5), levels(5, torch.float64)),
        (vae(Poisson), counts()),
        (vae(NegativeBinomial, zero_inflated=True), counts(torch.int64)),
        (HierarchicalVAE(SHAPE, 2, (3,), inference="ladder"), levels(2)),
        (functional(), levels(2)),
    ],
    ids=lambda part: part.dtype if isinstance(part, torch.Tensor) else type(getattr(part, "likelihood", part)).__name__,
)
def test_data_are_restored_bit_for_bit(program, x):
    found = decompress(program, compress(program, x, num_particles=3, verify=False))  # the first datum by one particle
    assert found.dtype == x.dtype
    assert found.numpy().tobytes() == x.numpy().tobytes()


def test_the_file_depends_on_neither_threads_nor_state_and_changes_none():
    program, x = vae(), levels(2, num_data=45)
    before, rng = {name: t.clone() for name, t in program.state_dict().items()}, torch.get_rng_state()
    file = compress(program, x, num_chunks=3)
    assert torch.equal(torch.get_rng_state(), rng)
    assert all(
        t.dtype == before[name].dtype and torch.equal(t, before[name]) for name, t in program.state_dict().items()
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    program.train()
    assert compress(program, x.double().numpy().astype(np.float32), num_chunks=3, verify=False) == file
    assert torch.equal(decompress(program, file), x)
    assert torch.get_num_threads() == 2
    assert program.training
    torch.set_num_threads(threads)
    assert [chunk.num_data for chunk in Header.from_bytes(file).chunks] == [15, 15, 15]


def test_the_numbers_do_not_depend_on_where_the_weights_are_in_memory():
    """The library of matrix products rounds otherwise if an address is no multiple of 16."""
    torch.manual_seed(0)
    wide = partial(MLP, hidden_features=(64,))
    program = VAE(StandardNormal(9), Bernoulli((50,), 9, wide), DiagonalNormal((50,), 9, network=wide)).double()
    x, found = torch.rand(1, 50).double(), []
    for _ in range(2):
        programs = ExactPrograms(program.model, program.guide, (50,))
        with programs.running():
            found += [programs.guide_at("z", x, {}).base_dist.loc]
        for parameter in program.parameters():
            parameter.data = torch.cat([torch.zeros(1), parameter.flatten()])[1:].view_as(parameter)
    assert torch.equal(*found)


ANY = levels(2)
NOT_EQUAL = levels(256) * (1 + 2.0**-20)


@pytest.mark.parametrize(
    ("program", "x", "says"),
    [
        (vae(), ANY + 0.3, "x must hold the 2 levels of the likelihood"),
        (vae(), ANY * float("nan"), "x must hold the 2 levels"),
        (vae(), ANY * -0.0, "restored bit for bit"),
        (vae(), ANY[:0], "x must hold at least one datum"),
        (vae(), ANY.flatten(1), "x must hold data of shape (1, 2, 3), as the program does, but is of (6,)"),
        (vae(), ANY.bfloat16().float().to(torch.complex64), "x must have one of the types"),
        (vae(DiscretizedLogistic), NOT_EQUAL, "restored bit for bit"),
        (vae(Poisson), counts() - 4, "x must hold counts"),
        (vae(Gaussian), ANY, "likelihood must be a probability"),
        (vae(Poisson, library="observed"), counts(), "likelihood must be a probability"),
        (vae(posterior=FlowPosterior), ANY, "'z' has a Pushforward"),
        (vae(posterior=FullCovarianceNormal), ANY, "'z' has a MultivariateNormal"),
        (SphericalVAE(SHAPE, 3), ANY, "'z' has a"),
        (ConditionalVAE(SHAPE, 2), ANY, "program must be one of x alone"),
        (torch.nn.Linear(2, 3), ANY, "program must have a model and a guide"),
        (vae(DiscretizedLogisticMixture, levels=2), ANY[:, :, :1], "x must hold data of shape"),
    ],
)
def test_what_cannot_be_coded_is_refused_in_a_sentence(program, x, says):
    with pytest.raises(InputError) as refused:
        compress(program, x)
    assert says in str(refused.value)


@pytest.mark.parametrize(("name", "value"), [("num_particles", 0), ("latent_bits", 40), ("num_chunks", 0)])
def test_options_are_checked(name, value):
    with pytest.raises(InputError, match=name):
        compress(vae(), ANY, **{name: value})


def test_other_programs_and_other_machines_are_refused(monkeypatch):
    program, other = vae(), vae()
    file = compress(program, ANY)
    with torch.no_grad():
        other.posterior.loc_bias = torch.nn.Parameter(torch.zeros(1))
    with pytest.raises(InputError, match="its weights are not the same"):
        decompress(other, file)
    forward = program.likelihood.network.forward
    monkeypatch.setattr(program.likelihood.network, "forward", lambda z: 1.0001 * forward(z))
    with pytest.raises(InputError, match="to the last bit"):
        decompress(program, file)


def test_a_program_that_gives_other_numbers_each_time_is_found_out(monkeypatch):
    program = vae()
    codec, forward = Codec(program.model, program.guide, SHAPE), program.likelihood.network.forward
    codec.digest()
    monkeypatch.setattr(program.likelihood.network, "forward", lambda z: forward(z) + torch.randn(()))
    with pytest.raises(InputError, match="whenever it is given the same data"):
        codec.digest()
    with pytest.raises(InputError, match=r"whenever it is given the same data|given the latents alone"):
        compress(program, ANY)


def fixed(body):
    """A file with a correct checksum."""
    return body[:5] + hashlib.blake2b(body[13:], digest_size=8).digest() + body[13:]


def damaged(file, rng):
    """The file with a byte changed, a part cut out, or bytes put in."""
    at = int(rng.integers(len(file)))
    return [
        file[:at] + bytes([file[at] ^ int(rng.integers(1, 256))]) + file[at + 1 :],
        file[:at],
        file[:at] + file[at + int(rng.integers(1, 9)) :],
        file[:at] + rng.bytes(3) + file[at:],
    ][int(rng.integers(4))]


@contextmanager
def suppress_and_note(refusals):
    try:
        yield
    except InputError as error:
        refusals.add(str(error))


def test_damaged_files_are_never_returned_as_data():
    program, x, rng = vae(), levels(2, num_data=3), np.random.default_rng(0)
    file, refusals = compress(program, x, verify=False), set()
    for _ in range(1000):
        with pytest.raises(InputError) as refused:
            Header.from_bytes(damaged(file, rng))
        refusals.add(str(refused.value))
    codec, whole = Codec(program.model, program.guide, SHAPE, count_bits=1), Header.from_bytes(file)
    for _ in range(300):  # as by one who repairs the checksum
        with suppress_and_note(refusals):
            header = Header.from_bytes(fixed(damaged(file, rng)))
            digests = (header.program_digest, header.output_digest, header.data_shape, header.latent_bits)
            if digests == (whole.program_digest, whole.output_digest, SHAPE, whole.latent_bits):
                found = np.concatenate([np.zeros((0, *SHAPE)), *compression.decoded(codec, header)])
                np.testing.assert_array_equal(found, x)  # the change was in what does not matter, such as a version
    assert len(refusals) > 8
    assert all(". " not in sentence for sentence in refusals)
    for empty in (b"", b"pVA", b"pVAE", b"pVAE\x02" + bytes(40)):
        with pytest.raises(InputError):
            Header.from_bytes(empty)

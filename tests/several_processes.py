"""Program that test_several_processes.py runs under torchrun: every process writes its results; the last kills one."""

import os
import signal
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import pyro
import pyro.distributions as dist
import torch
import torch.distributed
from pyro.infer import Trace_ELBO
from short_checks import shorten
from torch import nn

from pyrovae import (
    MLP,
    VAE,
    Bernoulli,
    DataSet,
    DiagonalNormal,
    Digits,
    InputError,
    NonFiniteLoss,
    StandardNormal,
    distributed,
    fit,
)
from pyrovae.cli import main
from pyrovae.runs import Run

small = partial(MLP, hidden_features=(16,), normalization=nn.BatchNorm1d)


class Killer(Trace_ELBO):
    """End the second of several processes in the second epoch of three batches."""

    steps = 0

    def loss_and_grads(self, model, guide, *args, **kwargs):
        self.steps += 1
        if self.steps == 5 and os.environ.get("RANK") == "1":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().loss_and_grads(model, guide, *args, **kwargs)


class HeldNoise(nn.Module):
    """A small VAE in float64 whose noise is a function of the datum."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 4)).double()
        self.decoder = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 4)).double()
        self.decoder.weight_decay = 0.1

    def model(self, x):
        pyro.module("held", self)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2).double(), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z), 1.0).to_event(1), obs=x.double())

    def guide(self, x):
        pyro.module("held", self)
        loc, raw = self.encoder(x.double()).chunk(2, -1)
        noise = (37 * x.double()[:, :2]).sin()
        q = dist.Normal(loc, raw.exp())
        z = loc + noise * raw.exp()
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Delta(z, q.log_prob(z)).to_event(1))


# Shares of 4 and 3 images, and of 1 and none; of 1 and none; of 15 and 14, where the size of the gradient counts.
HELD = [
    {"batch_size": 7},
    {"batch_size": 1},
    {"batch_size": 100, "compile": "off", "optimizer": partial(torch.optim.SGD, lr=1e-3), "max_norm": None},
]


def weights_of(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def held_noise_data(count=37):
    return DataSet(torch.randn(count, 4, generator=torch.Generator().manual_seed(3)))


def fit_held_noise(batch_size, **options):
    torch.manual_seed(0)
    program = HeldNoise()
    torch.manual_seed(5)
    options = {"optimizer": partial(torch.optim.Adam, lr=1e-2), "max_norm": 3.0, "kl_warmup": 2, **options}
    fit(program.model, program.guide, held_noise_data(), epochs=3, batch_size=batch_size, progress=False, **options)
    return weights_of(program)


def make_vae(seed=0):
    torch.manual_seed(seed)
    shape = (1, 8, 8)
    return VAE(StandardNormal(4), Bernoulli(shape, 4, small), DiagonalNormal(shape, 4, small))


def fit_digits(seed=0, **options):
    vae = make_vae(seed)
    torch.manual_seed(seed)
    history = fit(vae.model, vae.guide, Digits(), epochs=2, batch_size=50, compile="off", progress=False, **options)
    return weights_of(vae), [row[:7] for row in history.rows()]


def stop_on_one_datum(error):
    """Train a program that fails on a datum that only one process sees; return what it says, and whether it learned."""
    program = HeldNoise()
    before = weights_of(program)
    marked = held_noise_data().train[:1]

    def model(x):
        if len(x) < 20 and bool((x == marked).all(-1).any()):  # not in the dry run, which sees them all
            if error is not None:
                raise error
            return program.model(x * torch.inf)
        return program.model(x)

    try:
        fit(model, program.guide, held_noise_data(), epochs=1, batch_size=30, progress=False)
    except (InputError, NonFiniteLoss) as raised:
        return type(raised), str(raised), all(torch.equal(before[k], v) for k, v in weights_of(program).items())


def parameter_of_one(is_late):
    """Make a parameter in one process alone, at once or not before training, which the dry run has no gradients of."""
    program = HeldNoise()

    def model(x):
        if torch.distributed.get_rank() == 1 and (torch.is_grad_enabled() or not is_late):
            pyro.param("own", torch.zeros(()))
        return program.model(x)

    with pyro.get_param_store().scope():
        try:
            fit(model, program.guide, held_noise_data(), epochs=1, progress=False)
        except InputError as raised:
            return str(raised)


def images_read_after_a_callback_that_draws():
    """Train two epochs; return the positions that this process reads in the second."""
    program, data, read = HeldNoise(), held_noise_data(), [[]]
    positions = {tuple(x.tolist()): i for i, x in enumerate(data.train[:])}

    def model(x):
        if program.training:
            read[-1] += [positions[tuple(row.tolist())] for row in x]
        return program.model(x)

    def rate(epoch):  # it is asked for at the end of each epoch, in all processes
        read.append([])
        return 1.0

    fit(
        model,
        program.guide,
        data,
        epochs=2,
        batch_size=10,
        compile="off",
        progress=False,
        scheduler=partial(torch.optim.lr_scheduler.LambdaLR, lr_lambda=rate),
        callback=lambda *_: torch.randn(7),
    )
    return read[-2]


def batch_sizes_that_differ(batch_size):
    program = HeldNoise()
    try:
        fit(program.model, program.guide, held_noise_data(), epochs=1, batch_size=batch_size, progress=False)
    except InputError as raised:
        return str(raised)


def in_python():
    """Start the group as users' own scripts do, with a seed for each process."""
    torch.distributed.init_process_group("gloo")
    rank = torch.distributed.get_rank()
    found = {
        "held": [fit_held_noise(**options) for options in HELD],
        "in order": distributed.gather_shards([f"part {i}" for i in distributed.shard_indices(5)]),
        "at first": distributed.gather_shards(list(distributed.shard_indices(5)), everywhere=False),
        "sum": distributed.all_reduce(torch.tensor([1.0, rank])),
        "not finite": stop_on_one_datum(None),
        "bad": stop_on_one_datum(InputError("x must be good")),
        "parameters": [parameter_of_one(False), parameter_of_one(True)],
        "calls": 0,
        "ahead": distributed.rank_zero_first(lambda: rank),
    }

    def keep(history, state):
        found["calls"] += 1
        found.setdefault("state", state())

    found["digits"] = fit_digits(seed=rank, callback=keep)
    found["resumed"] = fit_digits(seed=9, state=found.get("state"))  # the first process alone has one
    found["read"] = images_read_after_a_callback_that_draws()
    found["differing"] = batch_sizes_that_differ(100 + rank)
    try:
        distributed.on_rank_zero(lambda: 1 / 0)
    except ZeroDivisionError as error:
        found["by first"] = str(error)
    torch.save(found, f"found-{rank}.pt")
    torch.distributed.destroy_process_group()


TRAIN = ["train", "--posterior.network.hidden_features", "[16]", "--latent_dim", "3", "--batch_size", "500", "--epochs"]
EVALUATE = [
    "--split",
    "train",
    "--num_data",
    "180",
    "--num_samples",
    "50",
    "--num_draws",
    "3",
    "--sandwich",
    "true",
    "--num_simulated",
    "5",
    "--reverse.num_temperatures",
    "5",
]
ANNEAL = [
    *("--split", "train", "--num_data", "110", "--num_checked", "0", "--num_draws", "3"),
    *("--method", "Annealed", "--method.num_temperatures", "3", "--method.num_chains", "2"),
]


SCORE = ["--num_data", "330", "--num_samples", "20"]
ENCODE = ["--num_data", "330", "--num_draws", "2"]


def train_in_a_locked_folder():
    """Have the first process hold the lock that another training would hold."""
    with Run("run").locked() if os.environ["RANK"] == "0" else nullcontext():
        return main([*TRAIN, "2", "--run", "run", "--resume", "true"])


def on_the_command_line():
    shorten()
    statuses = [
        main([*TRAIN, "many"]),
        main([*TRAIN, "1", "--run", "run"]),
        main([*TRAIN, "1", "--run", "run"]),
        train_in_a_locked_folder(),
        main(["evaluate", "run", *EVALUATE]),
        main(["evaluate", "run", *ANNEAL]),
        main(["evaluate", "run", "--method", "Adaptive"]),
        main(["score", "run", *SCORE, "--out", "scores.csv"]),
        main(["encode", "run", *ENCODE, "--out", "codes.npy"]),
        main(["score", "run", *SCORE, "--out", "scores.csv"]),
        main(["report", "run"]),
    ]
    Path(f"statuses-{os.environ['RANK']}").write_text(" ".join(map(str, statuses)))
    main([*TRAIN, "4", "--run", "killed", "--compile", "off", "--objective", "several_processes.Killer"])


if __name__ == "__main__":
    torch.set_num_threads(1)
    in_python()
    on_the_command_line()
    sys.exit("the killed process goes on")

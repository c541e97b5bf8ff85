"""Packages that are slow to import and seldom used are imported where they are used."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

SELDOM = (
    "arviz xarray h5netcdf sklearn scipy pandas tensorboard torch.utils.tensorboard torchvision PIL matplotlib "
    "torch._dynamo torch._inductor sympy jsonargparse jinja2 yaml safetensors"
)
# What a command needs to be parsed, and to say how a run is kept.
FOR_COMMANDS = "jsonargparse jinja2 yaml safetensors"
HALVING = """
import numpy as np
import torch
from pyrovae.cli.exit_status import _flushed_denormals

torch.set_num_threads(2)
small = torch.from_numpy(np.full(2**20, 700_000, np.int32)).view(torch.float32)  # 1e-39, half of it for each thread
with _flushed_denormals():
    print(int((small * 0.5).view(torch.int32).count_nonzero()), bool((small.view(torch.int32) != 0).all()))
"""


def imported_by(code):
    code += f"\nimport sys\nprint(*(name for name in {SELDOM.split()} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


@pytest.fixture(scope="module")
def unavoidable():
    return imported_by("import torch, pyro")


def test_importing_pyrovae_leaves_to_later_what_most_programs_do_not_use(unavoidable):
    assert imported_by("import pyrovae") <= unavoidable


def test_asking_for_help_imports_nothing_that_draws_compiles_or_reads_images(unavoidable):
    asking = """
from contextlib import suppress
from pyrovae.cli import main
with suppress(SystemExit):
    main(["train", "--help"])
"""
    assert imported_by(asking) <= unavoidable | set(FOR_COMMANDS.split())


def test_all_threads_of_a_command_flush_denormals():
    """A thread has the setting of the one that started it: it must come first, which importing must not prevent."""
    done = subprocess.run([sys.executable, "-c", HALVING], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "True"]

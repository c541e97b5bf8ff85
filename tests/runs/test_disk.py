"""A run's folder where the disk is full, read-only or shared: one sentence, nothing lost, nothing in the way."""

import errno
import os
import resource
import signal
import subprocess
import sys
import warnings
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from pathlib import Path

import pytest
import torch

from pyrovae import InputError, files
from pyrovae.cli import main
from pyrovae.evaluation.likelihood.disk_buffer import DiskBuffer
from pyrovae.runs import Run, lock
from pyrovae.runs.lock import locked

ROOT = Path(__file__).parents[2]
SMALL = [
    "--latent_dim=2",
    "--posterior.network.hidden_features=[8]",
    "--likelihood.network.hidden_features=[8]",
    "--batch_size=512",
    "--compile=off",
    "--kl_warmup=1",  # by default, it depends on the number of epochs
]


def train(folder, epochs, *options):
    return main(["train", *SMALL, f"--epochs={epochs}", f"--run={folder}", *options])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("disk") / "run"
    assert train(folder, 2) == 0
    return folder


@contextmanager
def no_file_above(size):
    """Let the system refuse whatever makes a file longer, as it does where a disk is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.slow
def test_a_full_disk_ends_training_in_one_sentence_and_keeps_the_checkpoint(tmp_path, capsys):
    folder = tmp_path / "run"
    assert train(folder, 2) == 0
    before = {path.name: path.read_bytes() for path in (folder / "checkpoint").iterdir()}
    assert len(before["state.pt"]) > 20_000 > 2 * len(before["weights.safetensors"])
    capsys.readouterr()
    with no_file_above(20_000):
        assert train(folder, 4, "--resume=true") == 2
    path = folder / "checkpoint" / "state.pt"
    assert f"pyrovae: error: {path} cannot be written: {os.strerror(errno.EFBIG)}\n" in capsys.readouterr().err
    assert path.read_bytes() == before["state.pt"]
    assert not list(folder.rglob(".*"))
    assert train(folder, 4, "--resume=true") == 0
    assert train(tmp_path / "straight", 4) == 0
    name = "checkpoint/weights.safetensors"
    assert (folder / name).read_bytes() == (tmp_path / "straight" / name).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("size", [100, 4000])  # of the configuration, and of the weights
def test_a_run_that_finds_no_room_for_its_first_weights_leaves_its_folder_free(size, tmp_path, capsys):
    folder = tmp_path / "run"
    with no_file_above(size):
        assert train(folder, 1) == 2
    shown = capsys.readouterr().err
    assert f"cannot be written: {os.strerror(errno.EFBIG)}\n" in shown
    assert "Traceback" not in shown
    assert not folder.exists()
    assert train(folder, 1) == 0


@pytest.mark.slow
@pytest.mark.parametrize("size", [1000, 500_000])  # of the figures while they are drawn, and of the netCDF file
def test_a_full_disk_ends_an_evaluation_in_one_sentence(size, run, capsys):
    kept = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with no_file_above(size):
        assert main(["evaluate", str(run), "--num_samples=5", "--num_checked=0"]) == 2
    sentence = f"pyrovae: error: {run / 'evaluation'} cannot be written: {os.strerror(errno.EFBIG)}\n"
    assert capsys.readouterr().err.endswith(sentence)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == kept
    assert main(["evaluate", str(run), "--num_samples=5", "--num_checked=0"]) == 0


def test_a_mapped_file_has_its_room_from_the_start(tmp_path, monkeypatch):
    """The system kills whoever writes to a mapped file that is merely long, if the disk is full by then."""
    buffer = DiskBuffer(tmp_path)
    whole = buffer._cat([torch.arange(4.0), torch.arange(3.0)])
    assert whole.tolist() == [0, 1, 2, 3, 0, 1, 2]
    assert list(tmp_path.iterdir()) == []
    size = 2**20 + 1
    written = []
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    monkeypatch.setattr(files.mmap, "mmap", lambda file, size: written.append(os.fstat(file).st_blocks * 512))
    files.temporary_mmap(tmp_path, size)
    assert written[0] >= size


@pytest.mark.slow
def test_an_output_that_takes_nothing_leaves_no_folder(tmp_path, capsys):
    folder = tmp_path / "run"
    with open("/dev/full", "w", buffering=1, encoding="utf-8") as full, redirect_stdout(full):
        assert train(folder, 1) == 2
    assert f"error: standard output: {os.strerror(errno.ENOSPC)}\n" in capsys.readouterr().err
    assert not folder.exists()
    with open("/dev/full", "w", encoding="utf-8") as full, redirect_stdout(full):  # it fails when all is said
        assert train(folder, 1) == 2
    assert len(Run(folder).history().epochs) == 1


@pytest.mark.slow
def test_an_interruption_before_the_first_weights_leaves_no_folder(tmp_path, monkeypatch, capsys):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(import_module("pyrovae.cli.commands.train"), "fit", interrupted)
        assert train(tmp_path / "run", 1) == 130
    assert not (tmp_path / "run").exists()
    assert train(tmp_path / "run", 1) == 0


@pytest.mark.parametrize("words", [["-m", "pyrovae"], ["pyrovae"], ["another.py"]])
def test_an_interruption_while_packages_are_imported_is_one_line(words, tmp_path):
    (tmp_path / "torch.py").write_text(  # a process in the background may have begun with the signal ignored
        "import os, signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "os.kill(os.getpid(), signal.SIGINT)\n"
    )
    for name in ("pyrovae", "another.py"):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text("import sys\nfrom pyrovae.cli import main\nsys.exit(main())\n")
    words = [str(tmp_path / "bin" / word) if word != "-m" and "-m" not in words else word for word in words]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT)))}
    ended = subprocess.run([sys.executable, *words, "data"], env=environment, capture_output=True, text=True)
    assert ended.returncode in (130, -signal.SIGINT)
    if words[-1].endswith("another.py"):
        assert "Traceback" in ended.stderr  # a program of one's own is told all
    else:
        assert ended.stderr == "pyrovae: interrupted\n"


@pytest.mark.parametrize("words", [["evaluate", "--num_samples=5"], ["diagnose", "--num_data=2"]])
def test_a_folder_that_cannot_be_written_is_named_before_the_work(words, run, tmp_path, capsys, monkeypatch):
    def work(*args, **kwargs):
        raise AssertionError("it began")

    monkeypatch.setattr(import_module("pyrovae.runs.evaluation"), "log_marginal", work)
    monkeypatch.setattr(import_module("pyrovae.runs.diagnosis").functions, "diagnose", work)
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("config.yaml", "weights.safetensors"):
        (folder / name).write_bytes((run / name).read_bytes())
    for name in ("evaluation", "diagnosis"):
        (folder / name).write_text("no folder")  # which nobody can write into, not even root
    assert main([words[0], str(folder), *words[1:]]) == 2
    name = {"evaluate": "evaluation", "diagnose": "diagnosis"}[words[0]]
    assert capsys.readouterr().err == f"pyrovae: error: {folder / name} cannot be written: Not a directory\n"


@pytest.mark.slow
def test_two_trainings_in_one_folder_are_told_apart(tmp_path, capsys):
    folder = tmp_path / "run"
    with locked(folder):
        assert train(folder, 1) == 2
        assert not (folder / "config.yaml").exists()
    assert not folder.exists()
    assert train(folder, 1) == 0
    assert sorted(path.name for path in folder.iterdir() if path.is_file()) == [
        *("config.yaml", "data.json", "metrics.csv", "signature", "weights.safetensors")
    ]
    before = (folder / "config.yaml").read_bytes()
    capsys.readouterr()
    with Run(folder).locked():
        assert train(folder, 2, "--resume=true") == 2
        assert f"no other process trains, but one does in {folder}: " in capsys.readouterr().err
        assert main(["refit_prior", str(folder), f"--out={folder}"]) == 2
        assert main(["evaluate", str(folder), "--num_samples=5", "--num_checked=0"]) == 0  # which only reads
    assert (folder / "config.yaml").read_bytes() == before
    assert train(folder, 2, "--resume=true") == 0


def test_a_killed_process_leaves_no_lock(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks in a process of several threads
        child = os.fork()
    if child == 0:
        with locked(tmp_path / "run"):
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert (tmp_path / "run" / "train.lock").exists()
    with locked(tmp_path / "run"), pytest.raises(InputError, match="no other process trains"), locked(tmp_path / "run"):
        pass
    assert not (tmp_path / "run").exists()


def test_a_lock_whose_file_was_removed_before_it_was_had_is_none(tmp_path, monkeypatch):
    """A process that opened the file of one that ends meanwhile must not think that it has the folder."""
    flock, path = lock.fcntl.flock, tmp_path / "train.lock"
    tries = []

    def late(file, how):
        tries.append(file)
        if len(tries) == 1:
            path.unlink()
        flock(file, how)

    monkeypatch.setattr(lock.fcntl, "flock", late)
    with locked(tmp_path):
        assert len(tries) == 2
        with pytest.raises(InputError, match="no other process trains"), locked(tmp_path):
            pass


@pytest.mark.slow
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_disk_without_locks_is_said_once_and_used(number, tmp_path, monkeypatch, capsys):
    def unsupported(*args):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(lock.fcntl, "flock", unsupported)
    assert train(tmp_path / "run", 1) == 0
    said = f"{tmp_path / 'run'} cannot be locked ({os.strerror(number)}): see that no other process trains in it"
    assert capsys.readouterr().err.count(said) == 1
    assert not (tmp_path / "run" / "train.lock").exists()

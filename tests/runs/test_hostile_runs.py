"""Runs made elsewhere: none of them runs its author's code, whatever its files hold, and each gets one sentence."""

import json
import os
import pickle
import shutil
import struct
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import pyrovae
from pyrovae import MLP, VAE, Bernoulli, DiagonalNormal, InputError, StandardNormal
from pyrovae.cli import main
from pyrovae.runs import Run, trusting
from pyrovae.runs.trust import trusted_packages

SMALL = partial(MLP, hidden_features=(4,))
IMPORTED = "evil_was_imported"
UNPICKLED = "evil_was_unpickled"


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    """A run that was saved on this machine."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    vae = VAE(StandardNormal(2), Bernoulli((4,), 2, network=SMALL), DiagonalNormal((4,), 2, network=SMALL))
    pyrovae.save(folder, vae, torch.bernoulli(torch.full((40, 4), 0.5)))
    return folder


@pytest.fixture
def run(honest, tmp_path, monkeypatch):
    """A copy of it that came from elsewhere, beside a module whose import leaves a mark."""
    folder = shutil.copytree(honest, tmp_path / "run")
    (folder / "signature").unlink()
    (tmp_path / "evilmod.py").write_text(
        f"import pathlib\npathlib.Path({str(tmp_path / IMPORTED)!r}).touch()\n"
        "from pyrovae import DataSet, MLP, Prior, StandardNormal, VAE\n"
        "class Evil(StandardNormal): pass\n"
        "class Net(MLP): pass\n"
        "def function(*args, **kwargs): return StandardNormal(2)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    sys.modules.pop("evilmod", None)


class Payload:
    def __reduce__(self):
        return os.mkdir, (UNPICKLED,)


def changed(**parts):
    """Return a change of the configuration."""

    def change(folder):
        config = yaml.safe_load((folder / "config.yaml").read_text())
        config.update(parts)
        (folder / "config.yaml").write_text(yaml.safe_dump(config))

    return change


def nested(name, **options):
    """Return a change of options of a component."""

    def change(folder):
        config = yaml.safe_load((folder / "config.yaml").read_text())
        config[name]["init_args"].update(options)
        (folder / "config.yaml").write_text(yaml.safe_dump(config))

    return change


def written(name, content):
    """Return a change of a file."""

    def change(folder):
        (folder / name).unlink(missing_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return change


def linked(name):
    """Return a change that makes a part of the run a link out of its folder."""

    def change(folder):
        outside = folder.parent / "outside"
        outside.mkdir()
        (outside / "weights.safetensors").write_bytes((folder / "weights.safetensors").read_bytes())
        target = outside / name if (outside / name).exists() else outside
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target)

    return change


def described(**parts):
    """Return a change of the record of the data."""

    def change(folder):
        record = json.loads((folder / "data.json").read_text())
        (folder / "data.json").write_text(json.dumps({**record, **parts}))

    return change


def array_of_objects(folder):
    np.savez(folder / "data.npz", x=np.array([Payload()], dtype=object), allow_pickle=True)
    nested("data", path=str(folder / "data.npz"))(folder)


LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)
)
HUGE = json.dumps({"w": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}).encode()
HOSTILE = {
    "a class of its own module": (changed(prior="evilmod.Evil"), "evilmod.Evil is named by"),
    "with its options": (changed(prior={"class_path": "evilmod.Evil"}), "--trust evilmod"),
    "a network within a component": (nested("posterior", network="evilmod.Net"), "--trust evilmod"),
    "a network, with its options": (
        nested("likelihood", network={"class_path": "evilmod.Net", "init_args": {}}),
        "--trust evilmod",
    ),
    "an activation within a network": (
        nested("posterior", network={"class_path": "pyrovae.MLP", "init_args": {"activation": "evilmod.Net"}}),
        "--trust evilmod",
    ),
    "a whole program": (changed(program={"class_path": "evilmod.Evil"}), "--trust evilmod"),
    "a data set": (changed(data={"class_path": "evilmod.Data", "init_args": {"path": "x"}}), "--trust evilmod"),
    "an option of a class that takes anything": (
        changed(program={"class_path": "torch.nn.Linear", "init_args": {"device": {"class_path": "evilmod.Evil"}}}),
        "",
    ),
    "a function in place of a class": (changed(prior="evilmod.function"), "--trust evilmod"),
    "a function of Python": (changed(prior="os.system"), "may not be imported"),
    "with its command": (changed(prior={"class_path": "os.system", "init_args": {"command": "touch x"}}), "may not be"),
    "by way of a trusted package": (changed(prior="torch.os.system"), "may not be imported"),
    "a function of torch": (changed(prior="torch.load"), "StandardNormal"),
    "a class that runs commands": (changed(prior="subprocess.Popen"), "may not be imported"),
    "a module to run": (changed(prior="pyrovae.__main__.main"), "must be a subclass of pyrovae.Prior"),
    "a class of a wrong kind": (changed(prior="torch.nn.Linear"), "must be a subclass of pyrovae.Prior"),
    "a path in place of a class": (changed(prior="../../evilmod.py"), "prior"),
    "a list in place of a class": (changed(prior=["evilmod.Evil"]), "prior"),
    "an object of YAML": (written("config.yaml", f"!!python/object/apply:os.mkdir ['{UNPICKLED}']"), "cannot be read"),
    "a module of YAML": (written("config.yaml", "prior: !!python/name:evilmod.Evil"), "cannot be read"),
    "aliases that multiply": (written("config.yaml", LAUGHS), "more than 100000 values"),
    "an alias of itself": (written("config.yaml", "prior: &a [*a]"), "more than 100000 values"),
    "bytes that are no text": (written("config.yaml", b"prior: \xff\xfe"), "cannot be read"),
    "nesting without end": (written("config.yaml", "[" * 20_000), "cannot be read"),
    "another configuration's name": (changed(config="/etc/passwd", prior="evilmod.Evil"), "--trust evilmod"),
    "a pickle for weights": (written("weights.safetensors", pickle.dumps(Payload())), "cannot be read"),
    "a header that is too large": (written("weights.safetensors", struct.pack("<Q", 2**62) + b"{}"), "cannot be read"),
    "a tensor that is too large": (
        written("weights.safetensors", struct.pack("<Q", len(HUGE)) + HUGE),
        "cannot be read",
    ),
    "more latents than memory": (changed(latent_dim=10**13), "too large"),
    "a datum larger than memory": (described(data_shape=[10**13]), "too large"),
    "data of objects": (array_of_objects, "data of"),
    "a record of a wrong type": (described(sizes="many", data_shape="wide"), "data.json"),
    "weights elsewhere": (linked("weights.safetensors"), "links that lead out of it"),
    "a pipe that never ends": (lambda folder: os.mkfifo(folder / "metrics"), "files and folders alone"),
    "results elsewhere": (linked("evaluation"), "links that lead out of it"),
}


def refusal(use):
    """Return the sentence with which a run is refused; any other error is a failure."""
    try:
        use()
    except InputError as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_of_it_is_run(run, name):
    change, words = HOSTILE[name]
    change(run)
    errors = [error for use in (Run(run).load_program, Run(run).load) if (error := refusal(use)) is not None]
    assert errors, "it was loaded"
    assert all("\n" not in error for error in errors), errors
    assert any(words in error for error in errors), errors
    assert not Path(IMPORTED).exists()
    assert not Path(UNPICKLED).exists()
    assert "evilmod" not in sys.modules


@pytest.mark.parametrize(
    "words",
    [
        ["evaluate", "run", "--num_samples=5"],
        ["evaluate", "run", "--data.path=run/data.npz"],
        ["sample", "run", "--out=x.npy"],
        ["report", "run"],
        ["encode", "run"],
        ["refit_prior", "run", "--out=new", "--epochs=1"],
        ["export", "run", "--format=torch"],
        ["train", "--config=run/config.yaml", "--run=new", "--epochs=1"],
        ["train", "--run=run", "--resume=true"],
    ],
    ids=" ".join,
)
def test_no_command_runs_it(run, words, capsys):
    """The hostile class is where the command finds it first: the data, or else the prior."""
    data = {"class_path": "evilmod.Evil", "init_args": {"path": "x"}}
    changed(prior="evilmod.Evil", data=data, optimizer="evilmod.Evil", trust="evilmod")(run)
    assert main(words) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1, said
    assert "--trust evilmod" in said
    assert not Path(IMPORTED).exists()
    assert not Path("new", "config.yaml").exists()


@pytest.mark.parametrize(
    "logger", ["evilmod.Evil", {"class_path": "pyrovae.tracking.CSV", "init_args": {"folder": "outside"}}]
)
def test_its_logger_is_not_used(run, logger):
    """It would import a module, or write where the configuration says."""
    changed(logger=logger)(run)
    log = {"format": 1, "class": "pyrovae.tracking.CSV", "identifier": "outside", "folder": str(run)}
    written("logger.json", json.dumps(log))(run)
    assert main(["evaluate", "run", "--num_samples=5", "--num_checked=0"]) == 0
    assert not Path(IMPORTED).exists()
    assert not Path("outside").exists()


@pytest.mark.slow
def test_a_resumed_run_writes_into_its_folder_alone(tmp_path, monkeypatch):
    """Whatever its configuration says of its logger, and of the folder that it was once in."""
    monkeypatch.chdir(tmp_path)
    words = ["--compile=off", "--batch_size=512", "--latent_dim=2"]
    assert main(["train", *words, "--epochs=1", "--run=before"]) == 0
    Path("runs").mkdir()
    moved = Path("before").rename("runs/vae")
    (moved / "signature").unlink()
    changed(logger={"class_path": "pyrovae.tracking.CSV", "init_args": {"folder": "outside"}})(moved)
    assert main(["train", "--resume=true", "--epochs=2"]) == 0
    assert len(Run(moved).history().epochs) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_a_checkpoint_is_unpickled_for_tensors_alone(run, capsys):
    (run / "saved.json").unlink()
    (run / "checkpoint").mkdir(exist_ok=True)
    torch.save({"format": 1, "payload": Payload()}, run / "checkpoint" / "state.pt")
    with pytest.raises(InputError, match="cannot be read"):
        Run(run).state()
    assert not Path(UNPICKLED).exists()


def test_names_in_its_files_are_text_in_its_page(run):
    """A page shows the configuration, and runs nothing of it."""
    changed(note="<script>alert(1)</script>")(run)
    pyrovae.report.write_report(run, num_data=5)
    page = (run / "report.html").read_text()
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert(1)" not in page


def test_a_run_is_used_if_its_package_is_trusted(run, capsys):
    changed(prior="evilmod.Evil")(run)
    assert type(pyrovae.load(run, trust="evilmod").program.prior).__name__ == "Evil"
    assert type(pyrovae.load(run, trust=["other", "evilmod"]).data).__name__ == "ArrayFile"
    words = ["sample", "run", "--num_samples=2", "--out=x.npy"]
    sys.modules.pop("evilmod")
    assert main(words) == 2
    assert main([*words, "--trust", "other,evilmod"]) == 0
    with pytest.raises(
        InputError, match=r"trust must be names of packages, such as my_package, but '\.\./x' was given"
    ):
        pyrovae.load(run, trust="../x")
    assert main(["refit_prior", "run", "--out=new", "--epochs=1", "--trust=evilmod"]) == 0
    assert not Run("new").is_own  # as its origin is not


def test_errors_of_what_is_done_with_it_keep_their_words(run):
    """A guard is around whole commands too, such as a training that is resumed."""
    with pytest.raises(ValueError, match="overflow in a decoder"), Run(run).guarded():
        raise ValueError("overflow in a decoder")


def test_a_command_within_another_keeps_its_trust():
    """A sweep calls train, and does not repeat what it trusts."""
    with trusting(["a"]):
        with trusting([]), trusting(["b"]):
            assert trusted_packages([])[-2:] == ["a", "b"]
        assert trusted_packages([])[-1] == "a"


def test_a_run_of_this_machine_needs_no_trust(run, monkeypatch, tmp_path):
    """A user's own class is used as ever; the run is moved; its signature tells nothing on another machine."""
    changed(prior="evilmod.Evil")(run)
    text = (run / "config.yaml").read_text()
    Run(run).rewrite_config(text)
    moved = shutil.move(run, tmp_path / "moved")
    assert Run(moved).is_own
    assert type(pyrovae.load(moved).program.prior).__name__ == "Evil"
    (moved / "config.yaml").write_text(text + "beta: 2.0\n")
    assert not Run(moved).is_own
    (moved / "config.yaml").write_text(text)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another machine"))
    assert not Run(moved).is_own
    sys.modules.pop("evilmod")
    with pytest.raises(InputError, match="--trust evilmod"):
        pyrovae.load(moved).program  # noqa: B018
    Run(tmp_path / "new").create(text)
    assert Run(tmp_path / "new").is_own
    assert (tmp_path / "another machine" / "pyrovae" / "key").stat().st_mode & 0o077 == 0


def test_without_a_place_for_the_key_runs_are_not_signed(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    run = Run(tmp_path / "run")
    run.create("latent_dim: 2\n")
    assert run.exists
    assert not run.is_own

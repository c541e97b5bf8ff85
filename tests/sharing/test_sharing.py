"""Runs are pushed and pulled: by a folder, and by a hub on this machine; what arrives is what was sent."""

import json
import re
import shutil
from functools import partial

import pytest
import torch
import yaml

import pyrovae
from pyrovae import MLP, VAE, Bernoulli, DiagonalNormal, InputError, StandardNormal
from pyrovae.cli import main
from pyrovae.runs import Run
from pyrovae.sharing import pull, push

SMALL = partial(MLP, hidden_features=(4,))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "small"
    vae = VAE(StandardNormal(2), Bernoulli((4,), 2, network=SMALL), DiagonalNormal((4,), 2, network=SMALL))
    pyrovae.save(folder, vae, torch.bernoulli(torch.full((40, 4), 0.5)))
    assert main(["evaluate", str(folder), "--num_samples=60", "--num_checked=0", "--quiet"]) == 0
    return folder


@pytest.fixture
def shared(run, tmp_path):
    push(run, str(tmp_path / "shared"))
    return tmp_path / "shared"


def test_a_pulled_run_is_the_run_that_was_pushed(run, shared, tmp_path, capsys):
    pulled = pull(str(shared), tmp_path / "mine")
    assert pulled.run.folder == tmp_path / "mine"
    assert not pulled.run.is_own
    own, other = pyrovae.load(run).program.state_dict(), pyrovae.load(tmp_path / "mine").program.state_dict()
    assert all(torch.equal(own[name], other[name]) for name in own)
    assert pulled.run.evaluations() == Run(run).evaluations()
    names = {path.relative_to(shared).as_posix() for path in shared.rglob("*") if path.is_file()}
    assert names == {
        *("README.md", "config.yaml", "data.json", "manifest.json", "saved.json", "weights.safetensors"),
        *("checkpoint/weights.safetensors", "evaluation/test-importance-60.json"),
    }
    assert main(["sample", str(tmp_path / "mine"), "--num_samples=3", f"--out={tmp_path / 'x.npy'}"]) == 0


@pytest.mark.slow
def test_the_options_of_a_logger_are_not_shared(run, tmp_path):
    shutil.copytree(run, tmp_path / "logged")
    path = tmp_path / "logged" / "config.yaml"
    logger = {"class_path": "MLflow", "init_args": {"tracking_uri": "https://me:secret@somewhere"}}
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "logger": logger}))
    assert main(["report", str(tmp_path / "logged"), "--quiet"]) == 0
    push(tmp_path / "logged", str(tmp_path / "shared"), data=True)
    assert (tmp_path / "shared" / "report.html").exists()
    assert all(b"secret" not in file.read_bytes() for file in (tmp_path / "shared").rglob("*") if file.is_file())


def test_data_are_shared_if_they_are_asked_for(run, tmp_path, capsys):
    assert main(["push", str(run), str(tmp_path / "without")]) == 0
    said = capsys.readouterr().out
    assert "not pushed, for they hold single data: data.npz, evaluation/test-importance-60.nc" in said
    assert main(["push", str(run), str(tmp_path / "with"), "--data=true"]) == 0
    assert (tmp_path / "with" / "data.npz").exists()
    said = capsys.readouterr().out
    assert "not pushed" not in said
    digest = re.search(r"--digest (\w{64})", said)[1]
    assert main(["pull", str(tmp_path / "with"), str(tmp_path / "mine"), f"--digest={digest}"]) == 0
    assert (tmp_path / "mine" / "evaluation" / "test-importance-60.nc").exists()


def test_the_card_says_what_was_trained_and_what_to_trust(run, shared):
    card = (shared / "README.md").read_text()
    _, header, text = card.split("---\n", 2)
    assert yaml.safe_load(header)["library_name"] == "pyrovae"
    (entry,) = Run(run).evaluations().values()
    assert "A VAE of 2 latents (StandardNormal, Bernoulli, DiagonalNormal), trained on 32 data" in text
    assert f"The negative log-likelihood of 4 test data is {entry['nll']:.2f} nats per datum" in text
    assert entry["verdict"] in text
    assert entry["certificate"]["sentence"] in text
    assert f"| test-importance-60 | {entry['nll']:.4g} | {entry['standard_error']:.4g} |" in text
    assert "--trust" not in text
    config = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)[1]
    assert yaml.safe_load(config) == Run(run).config()


def test_the_card_names_the_packages_that_must_be_trusted(run, tmp_path, monkeypatch):
    (tmp_path / "my_priors.py").write_text("from pyrovae import StandardNormal\nclass Own(StandardNormal): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    folder = shutil.copytree(run, tmp_path / "run")
    config = {**Run(folder).config(), "prior": {"class_path": "my_priors.Own"}}
    Run(folder).rewrite_config(yaml.safe_dump(config))
    push(folder, str(tmp_path / "shared"))
    assert "--trust my_priors" in (tmp_path / "shared" / "README.md").read_text()
    pull(str(tmp_path / "shared"), tmp_path / "mine")
    with pytest.raises(InputError, match="--trust my_priors"):
        pyrovae.load(tmp_path / "mine").program  # noqa: B018
    assert type(pyrovae.load(tmp_path / "mine", trust="my_priors").program.prior).__name__ == "Own"


def name_a_script(shared):
    (shared / "run_me.py").write_text("raise SystemExit")
    manifest = json.loads((shared / "manifest.json").read_text())
    manifest["sha256"]["run_me.py"] = "0" * 64
    (shared / "manifest.json").write_text(json.dumps(manifest))


def name_a_file_elsewhere(shared):
    text = (shared / "manifest.json").read_text()
    (shared / "manifest.json").write_text(text.replace("evaluation/test", "evaluation/../../test"))


def change_a_byte(shared):
    weights = bytearray((shared / "weights.safetensors").read_bytes())
    weights[-1] ^= 1
    (shared / "weights.safetensors").write_bytes(weights)


def link(shared):
    content = (shared / "weights.safetensors").read_bytes()
    (shared.parent / "elsewhere").write_bytes(content)
    (shared / "weights.safetensors").unlink()
    (shared / "weights.safetensors").symlink_to(shared.parent / "elsewhere")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (change_a_byte, "weights.safetensors must be the file that was shared"),
        (lambda shared: (shared / "weights.safetensors").unlink(), "there is no file weights.safetensors"),
        (lambda shared: (shared / "manifest.json").unlink(), "there is no file manifest.json"),
        (lambda shared: (shared / "manifest.json").write_text("[]"), "manifest.json must list the files of a run"),
        (name_a_script, "must name files of a run alone, but names 'run_me.py'"),
        (name_a_file_elsewhere, "must name files of a run alone"),
        (link, "there is no file weights.safetensors"),
    ],
)
def test_another_run_than_was_pushed_is_not_taken(shared, tmp_path, change, words):
    change(shared)
    with pytest.raises(InputError, match=re.escape(words)):
        pull(str(shared), tmp_path / "mine")
    assert not (tmp_path / "mine").exists()
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_bad_input_is_one_sentence(run, shared, tmp_path, capsys):
    cases = {
        "folder must be a new one": ["pull", str(shared), str(run)],
        "must have the digest 00": ["pull", str(shared), str(tmp_path / "mine"), "--digest=00"],
        "revision must be left out": ["pull", str(shared), str(tmp_path / "mine"), "--revision=main"],
        "must be hf:USER/NAME": ["pull", "hf:name", str(tmp_path / "mine")],
        "target must be a new or empty folder": ["push", str(run), str(shared)],
        "run must be a folder that pyrovae train made": ["push", str(tmp_path), str(tmp_path / "new")],
    }
    for words, command in cases.items():
        assert main(command) == 2
        said = capsys.readouterr().err
        assert words in said
        assert said.count("\n") == 1


def test_a_hub(run, tmp_path, monkeypatch, capsys):
    """A server of this machine, asked by the library of the hub."""
    pytest.importorskip("huggingface_hub")
    from local_hub import COMMIT, NAME, local_hub

    with local_hub() as server:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("HF_TOKEN", "hf_nobody")
        assert main(["push", str(run), f"hf:{NAME}", "--private=true"]) == 0
        assert server.created[0]["name"] == "digits"
        assert server.created[0].get("private") is True or server.created[0].get("visibility") == "private"
        assert server.tokens == {"Bearer hf_nobody"}
        assert server.files["weights.safetensors"] == (run / "weights.safetensors").read_bytes()
        assert f"pyrovae pull hf:{NAME} runs/small" in server.files["README.md"].decode()
        assert not {"signature", "data.npz"} & server.files.keys()
        assert main(["pull", f"hf:{NAME}", str(tmp_path / "mine"), "--revision=main"]) == 0
        assert (tmp_path / "mine" / "weights.safetensors").read_bytes() == server.files["weights.safetensors"]
        assert not (tmp_path / "mine" / ".cache").exists()
        assert COMMIT not in capsys.readouterr().err
        server.files["config.yaml"] += b"beta: 2.0\n"
        assert main(["pull", f"hf:{NAME}", str(tmp_path / "other")]) == 2
        assert "config.yaml must be the file that was shared" in capsys.readouterr().err
        assert main(["pull", "hf:someone/nothing", str(tmp_path / "other")]) == 2
        said = capsys.readouterr().err
        assert "hf:someone/nothing cannot be used" in said
        assert said.count("\n") == 1
    assert not (tmp_path / "other").exists()

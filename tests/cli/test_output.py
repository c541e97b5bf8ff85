"""Output and input in any encoding: nothing is lost, and nothing is read by the locale."""

import io
import locale
from contextlib import redirect_stdout

import pytest

from pyrovae.cli import main
from pyrovae.cli.exit_status import run_command
from pyrovae.runs import Run

SMALL = ["--latent_dim=2", "--posterior.network.hidden_features=[4]", "--batch_size=512", "--epochs=1", "--compile=off"]


def said(text, encoding):
    """Return what a command's text comes to in an encoding, and its status."""
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding=encoding)
    with redirect_stdout(out):
        status = run_command(lambda: print(text))
    assert out.errors == "strict"  # as it was
    return status, raw.getvalue().decode(encoding).strip()


def test_an_output_that_has_not_every_letter_says_all_in_plain_ones():
    text = "Pareto k̂ −0.71 ± 0.01: \udcff can be trusted, é"
    assert said(text, "cp1252") == (0, "Pareto k-hat -0.71 ± 0.01: \\udcff can be trusted, é")
    assert said(text, "ascii") == (0, "Pareto k-hat -0.71 +/- 0.01: \\udcff can be trusted, \\xe9")
    assert said("k̂ −1", "utf-8") == (0, "k̂ −1")


@pytest.mark.slow
def test_a_run_is_read_as_it_was_written_whatever_the_locale(tmp_path):
    folder = tmp_path / "é"
    assert main(["train", *SMALL, f"--run={folder}"]) == 0
    before = locale.setlocale(locale.LC_CTYPE)
    locale.setlocale(locale.LC_CTYPE, "C")
    try:
        if "utf" in locale.nl_langinfo(locale.CODESET).lower().replace("-", ""):
            pytest.skip("this system has no locale but UTF-8")
        assert Run(folder).config()["run"] == str(folder)
        assert main(["train", "--resume=true", "--epochs=2", f"--run={folder}"]) == 0
        assert main(["train", f"--config={folder / 'config.yaml'}", f"--run={tmp_path / 'again'}"]) == 0
    finally:
        locale.setlocale(locale.LC_CTYPE, before)
    assert len(Run(tmp_path / "again").history().epochs) == 2


CONFIGURATIONS = {
    "": "--config: the file must hold a mapping of options, but it is empty",
    "- 1": "--config: the file must hold a mapping of options, but it holds - 1",
    "compile: on": "--compile: expected one of auto, off, graph, inductor, but True was given",
    "run: ''": "run must be a path, . for the current folder, but an empty one was given",
    b"run: \xe9": "--config: the file must be UTF-8, but config.yaml is not (byte 5): save it as UTF-8",
}


@pytest.mark.parametrize("content", CONFIGURATIONS, ids=str)
def test_a_configuration_that_cannot_be_used_is_refused_in_one_sentence(content, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert main(["train", *SMALL, "--config=config.yaml"]) == 2
    assert capsys.readouterr().err == f"pyrovae: error: {CONFIGURATIONS[content]}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_off_is_a_word_in_a_file_too(mark, tmp_path, capsys):
    (tmp_path / "config.yaml").write_text(f"{mark}compile: off\nresume: on\n", encoding="utf-8")
    assert main(["train", f"--config={tmp_path / 'config.yaml'}", "--print_config"]) == 0
    assert "compile: 'off'\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ["train", "--run="],
        ["train", "--data=MNIST", "--data.root="],
        ["evaluate", ""],
        ["compare", "a", "b", "--out="],
        ["refit_prior", "a", "--out="],
        ["export", "a", "--out="],
    ],
)
def test_no_path_is_no_path(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    assert "must be a path, . for the current folder, but an empty one was given" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())

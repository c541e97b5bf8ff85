"""Completion in a shell: a real bash gets the words, and asks no Python for them."""

import os
import pty
import re
import select
import shutil
import subprocess
from contextlib import redirect_stdout

import pytest

from pyrovae.cli import main
from pyrovae.cli.main import COMMANDS

SECONDS = 60  # in which a shell answers, however busy the machine is


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """The script of each shell, printed as the command line prints it."""
    folder = tmp_path_factory.mktemp("completion")
    for shell in ("bash", "zsh"):
        with open(folder / f"pyrovae.{shell}", "w") as file, redirect_stdout(file):
            assert main(["--completion", shell]) == 0
    return folder


def completions(script, *words):
    """What bash offers for the last of these words after the command's name."""
    call = f'source "{script}/pyrovae.bash"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _pyrovae; '
    call += 'printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run(
        ["bash", "--norc", "-c", call, "bash", "pyrovae", *words], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return done.stdout.split()


class Terminal:
    """An interactive shell on a terminal."""

    def __init__(self, arguments, environment):
        self.process, self.end = pty.fork()
        if self.process == 0:
            os.execvpe(arguments[0], arguments, {**os.environ, "TERM": "dumb", "PS1": "> ", **environment})

    def type(self, keys, expected):
        """Press keys, and return what is shown until the expected text."""
        os.write(self.end, keys.encode())
        shown = ""
        while not re.search(expected, shown):
            ready, _, _ = select.select([self.end], [], [], SECONDS)
            assert ready, f"{expected!r} does not come after {shown!r}"
            shown += os.read(self.end, 4096).decode(errors="replace")
        return shown

    def close(self):
        os.close(self.end)
        os.waitpid(self.process, 0)


@pytest.mark.slow
def test_bash_completes_what_is_typed(script):
    shell = Terminal(["bash", "--norc", "--noprofile", "-i"], {"PATH": os.environ["PATH"], "INPUTRC": os.devnull})
    try:
        shell.type(f"source '{script}/pyrovae.bash'; echo rea''dy\n", "ready")
        assert "pyrovae evaluate " in shell.type("pyrovae ev\t", "evaluate ")
        shell.type("\x15", "")  # clears the line
        assert "--prior VampPrior " in shell.type("pyrovae train --prior Va\t", "VampPrior ")
        shell.type("\x15", "")
        assert "--prior=VampPrior" in shell.type("pyrovae train --prior=Va\t", "VampPrior")
    finally:
        shell.close()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_completes_what_is_typed(script, tmp_path):
    shell = Terminal(["zsh", "-f", "-i"], {"PROMPT": "> ", "ZDOTDIR": str(tmp_path), "HOME": str(tmp_path)})
    try:
        shell.type(f"source '{script}/pyrovae.zsh'; echo rea''dy\n", "ready")
        assert "evaluate" in shell.type("pyrovae ev\t", "evaluate")
        shell.type("\x15", "")
        assert "VampPrior" in shell.type("pyrovae train --prior Va\t", "VampPrior")
    finally:
        shell.close()


@pytest.mark.slow
def test_the_words_are_those_of_the_command_line(script):
    assert {*COMMANDS} < {*completions(script, "")}
    assert completions(script, "--completion", "z") == ["zsh"]
    assert completions(script, "list", "pri") == ["priors"]
    assert completions(script, "train", "--prio") == ["--prior"]
    assert {"--prior.num_components", "--prior.help"} <= {*completions(script, "train", "--prior.")}
    assert completions(script, "train", "--prior.help", "Vam") == ["VampPrior"]
    assert completions(script, "train", "--likelihood.network", "ConvolutionalD") == ["ConvolutionalDecoder"]
    assert completions(script, "train", "--likelihood.network.hid") == ["--likelihood.network.hidden_features"]
    assert completions(script, "train", "--data", "=", "Dig") == ["Digits"]
    assert completions(script, "train", "--data=Dig") == ["--data=Digits"]
    assert completions(script, "train", "--data", "=") == completions(script, "train", "--data", "")
    assert completions(script, "train", "--resume", "") == ["true", "false"]
    assert completions(script, "train", "--compile", "in") == ["inductor"]
    assert completions(script, "evaluate", "--method", "Ann") == ["Annealed"]
    for files in (["evaluate", "ru"], ["train", "--run", ""], ["compare", "--evaluation", ""]):
        assert completions(script, *files) == []  # which the shell completes as files


def test_other_shells_are_refused_in_one_sentence(capsys):
    for words, given in ((["fish"], "fish"), ([], "nothing")):
        assert main(["--completion", *words]) == 2
        expected = f"pyrovae: error: --completion must be bash or zsh, but {given} was given\n"
        assert capsys.readouterr().err == expected

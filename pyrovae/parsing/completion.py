"""Scripts that let a shell complete commands, options and the names of classes."""

from __future__ import annotations

import typing
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from jsonargparse import ArgumentParser

from pyrovae.parsing.classes import class_names, takes_class
from pyrovae.parsing.options import options_of

__all__ = ["SHELLS", "completion_script"]

SHELLS = ("bash", "zsh")
"""Shells for which there are scripts."""

_SCRIPT = """\
# Completion of {program} in {shell}: commands, options, and the names of classes. Print it again after an update.
{preamble}_{program}() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}" command="${{COMP_WORDS[1]}}"
  local option="" prefix="" words="" top="" nested="" places=""
  COMPREPLY=()
  if [[ $COMP_CWORD -eq 1 ]]; then
    COMPREPLY=($(compgen -W "{commands}" -- "$word"))
    return
  fi
  if [[ $word == --*=* ]]; then  # where the shell does not divide at the sign
    option="${{word%%=*}}" prefix="${{word%%=*}}=" word="${{word#*=}}"
  elif [[ $word == "=" ]]; then
    option="$before" word=""
  elif [[ $before == "=" ]]; then
    option="${{COMP_WORDS[COMP_CWORD-2]}}"
  elif [[ $before == --* ]]; then
    option="$before"
  fi
  case "$command:$option" in
{choices}
  esac
  case "$command" in
{options}
  esac
  if [[ -z $words && $word == -*.* ]]; then
    words="$nested"
  elif [[ -z $words && $word == -* ]]; then
    words="$top"
  elif [[ -z $words && -z $option ]]; then
    words="$places"
  fi
  COMPREPLY=($(compgen -P "$prefix" -W "$words" -- "$word"))
}}
complete -o default -F _{program} {program}
"""

_PREAMBLES = {"bash": "", "zsh": "autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n"}


def completion_script(parser: ArgumentParser, shell: str, top: Mapping[str, str]) -> str:
    """Return a script that completes commands, options, and their values where these are a few words or classes.

    The shell runs nothing of the program to complete a word. Other words are completed as files.

    Args:
        parser: parser of all commands.
        shell: one of :data:`SHELLS`.
        top: words accepted in place of a command, and the words that each takes.
    """
    options, values = [], defaultdict(list)
    commands = parser._subcommands_action.choices if parser._subcommands_action else {}
    for name, subparser in commands.items():
        known = dict(options_of(subparser, others=True)) | {"help": None}
        for option, hint in list(known.items()):
            values[" ".join(_values(hint))].append(f"{name}:--{option}")
            if "." not in option and takes_class(hint):
                known[f"{option}.help"] = None
                values[" ".join(class_names(hint))].append(f"{name}:--{option}.help")
        listed = {
            "top": [f"--{option}" for option in known if "." not in option],
            "nested": [f"--{option}" for option in known if "." in option],
            "places": [word for action in subparser._actions for word in _place_values(action)],
        }
        assigned = (f'{variable}="{" ".join(words)}"' for variable, words in listed.items())
        options.append(f"    {name}) {' '.join(assigned)} ;;")
    for word, accepted in top.items():
        values[accepted].append(f"{word}:{word}")
    choices = [f'    {"|".join(places)}) words="{words}" ;;' for words, places in values.items() if words]
    return _SCRIPT.format(
        program=parser.prog,
        shell=shell,
        preamble=_PREAMBLES[shell],
        commands=" ".join([*commands, "--help", *top]),
        choices="\n".join(choices),
        options="\n".join(options),
    )


def _values(hint: Any) -> list[str]:
    """Return the words that an option of a type accepts; none if it accepts others too."""
    if takes_class(hint):
        return class_names(hint)
    if hint is bool:
        return ["true", "false"]
    if typing.get_origin(hint) is typing.Literal:
        return [str(word) for word in typing.get_args(hint)]
    return [word for part in typing.get_args(hint) for word in _values(part)] if _is_union(hint) else []


def _is_union(hint: Any) -> bool:
    return type(None) in typing.get_args(hint)


def _place_values(action: Any) -> list[str]:
    """Return the words that an argument without a name accepts."""
    return [] if action.option_strings else _values(getattr(action, "_typehint", None))

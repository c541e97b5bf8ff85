"""Words and tables of the page on performance: machines, settings, contenders, and where a peer is ahead."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import Any, NamedTuple, TypeVar

__all__ = [
    "NOT_MEASURED",
    "OWN",
    "Ratio",
    "Record",
    "comparison",
    "digits",
    "label",
    "multiple",
    "on_machines",
    "rounds",
    "table",
    "title",
    "unique",
]

Record = dict[str, Any]
OWN = "pyrovae, "
NOT_MEASURED = "Not measured yet."
_T = TypeVar("_T")


class Ratio(NamedTuple):
    """How a peer compares in one setting: our time as a multiple of its time, the median within rounds."""

    setting: str
    ratio: float


def on_machines(found: Sequence[Record], section: Callable[[Sequence[Record]], str]) -> str:
    """Return the text of each machine, below a line that describes it."""
    groups: list[list[Record]] = []
    for record in sorted(found, key=lambda record: record["date"], reverse=True):
        for group in groups:
            if group[0]["machine"] == record["machine"]:
                group.append(record)
                break
        else:
            groups.append([record])
    in_order = [[record for record in found if record in group] for group in groups]  # as they were measured
    parts = [f"{described(group)}\n\n{section(group)}\n\n{missing(group)}".strip() for group in in_order]
    return "\n\n".join(parts) or NOT_MEASURED


def described(group: Sequence[Record]) -> str:
    """Say on what machine, with which versions, when and by which commands records were made."""
    machine = group[0]["machine"]
    held = "".join(f", {variable}={value}" for variable, value in machine["limits"].items())
    dates = sorted({record["date"] for record in group})
    versions = unique(
        ", ".join(f"{package} {number or 'not installed'}" for package, number in record["versions"].items())
        for record in group
    )
    commands = "\n".join(unique(record["command"] for record in group))
    return (
        f"**{machine['processor']}**, {machine['cores']} cores, {instruction_sets(machine['flags'])}"
        f"{held}. {dates[0]}{f' to {dates[-1]}' if len(dates) > 1 else ''}; {'; or '.join(versions)}.\n\n"
        f"```sh\n{commands}\n```"
    )


def instruction_sets(flags: Sequence[str]) -> str:
    """Say which vector instructions a processor has, with the extensions of each set in brackets."""
    words: dict[str, list[str]] = {"with": [flag for flag in flags if flag.startswith("avx_")], "without": []}
    for name in ("avx2", "avx512", "amx"):
        found = [flag.removeprefix(name).strip("_") for flag in flags if flag.startswith(name)]
        extensions = " ".join(part for part in found if part)
        words["with" if found else "without"].append(name + (f" ({extensions})" if extensions else ""))
    return ", ".join(f"{word} {', '.join(names)}" for word, names in words.items() if names)


def missing(group: Sequence[Record]) -> str:
    """Say which contenders are left out, and why."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for record in group:
        for name, reason in record["results"].get("left_out", {}).items():
            reasons.setdefault((label(name), reason), []).append(title(record["settings"]))
    return "\n".join(
        f"Left out: {name} ({reason}; {'; '.join(settings)})." for (name, reason), settings in reasons.items()
    )


def comparison(ours: str, peers: Sequence[tuple[str, Ratio]]) -> str:
    """Say of each peer where it is ahead of ours and by how much, and where it is behind."""
    sentences = []
    for peer in unique(name for name, _ in peers):
        ratios = [ratio for name, ratio in peers if name == peer]
        ahead = [f"{setting} ({ratio:.2f})" for setting, ratio in ratios if ratio >= 1.005]
        behind = [ratio for _, ratio in ratios if ratio < 1.005]
        words = [f"it is ahead in {len(ahead)} of {len(ratios)} settings: {'; '.join(ahead)}"] if ahead else []
        if behind:
            low, high = f"{min(behind):.2f}", f"{max(behind):.2f}"
            where = f"in the other{'s' * (len(behind) > 1)}" if ahead else "it is ahead nowhere:"
            words.append(f"{where} ours takes {low if low == high else f'{low} to {high}'} of its time")
        sentences.append(f"- **{peer}**: {'; '.join(words)}.")
    if not sentences:
        return "No peer was measured."
    return f"The time of {ours} as a multiple of that of each peer; the peer is ahead above 1:\n\n" + "\n".join(
        sentences
    )


def title(settings: Record) -> str:
    """Return the settings of a record in words."""
    words = [str(settings[key]) for key in ("architecture", "program") if key in settings]
    if "data" in settings:
        words.append(f"{settings['num_data']:,} data of {settings['data']}")
    if "threads" in settings:
        words.append(f"{settings['threads']} thread{'s' * (settings['threads'] > 1)}")
    return ", ".join(words)


def label(name: str) -> str:
    """Return the name of a contender as the page has it."""
    own = name.removeprefix(OWN)
    if own == name:
        return name
    return f'`fit`, `compile="{own.removeprefix("compile=")}"`' if own.startswith("compile=") else f"pyrovae, `{own}`"


def rounds(group: Sequence[Record]) -> str:
    """Say how many rounds there were."""
    counts = sorted({len(times) for record in group for times in record["results"]["seconds"].values()})
    if not counts:
        return "No rounds"
    span = " to ".join(map(str, unique((counts[0], counts[-1]))))
    return "One round" if counts == [1] else f"Medians of {span} rounds"


def multiple(times: Sequence[float], against: Sequence[float]) -> float:
    """Return the median over rounds of the ratio within a round."""
    return median(time / other for time, other in zip(times, against, strict=True))


def digits(value: float) -> str:
    """Return three significant digits of a small number, and no fraction of a large one."""
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def unique(values: Iterable[_T]) -> list[_T]:
    """Return each value once, in order."""
    return list(dict.fromkeys(values))


def table(lines: Sequence[Sequence[str]]) -> str:
    """Return rows as a table in Markdown, whose heads are the first."""
    rows = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)

"""Write the sections of ``docs/performance.md`` from what the benchmarks recorded in ``docs/performance/``.

``make bench`` measures and then calls this script. A section has a table for each processor, the newest first, and says
in words where a peer is ahead. A section without records says so.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from statistics import median

import page_section
import records
from performance_words import (
    OWN,
    Ratio,
    Record,
    comparison,
    digits,
    label,
    multiple,
    on_machines,
    rounds,
    table,
    title,
    unique,
)

from pyrovae.cli import script

__all__ = ["SECTIONS", "main", "section_of"]

BY_HAND, FUSED, NUMPYRO = "hand-written, Adam()", "hand-written, Adam(fused=True)", "NumPyro, jitted epoch"
PRODUCTS = "matrix products"
LOG_MARGINAL, DECODER = "pyrovae, log_marginal", "the decoder's products alone"
ANNEALED, FULL = "pyrovae, annealed", "pyrovae, annealed, full chunk"
HAND = "by hand, Adam(fused=True)"
MODES = "off", "graph", "inductor"


def main(folder: str = records.FOLDER, page: str = "docs/performance.md") -> None:
    """Write the sections of the page on performance from the records.

    Args:
        folder: folder of the records.
        page: page whose sections are written.
    """
    for name in SECTIONS:
        page_section.surroundings(page, name)
    for name in SECTIONS:
        page_section.write(page, name, f"\n{section_of(folder, name)}\n")


def section_of(folder: str, name: str) -> str:
    """Return the text of a section; of the classes, that of the newest record, since it depends on no processor."""
    found = records.read(folder, name)
    return on_machines(found[-1:] if name == "classes" else found, SECTIONS[name])


def startup(group: Sequence[Record]) -> str:
    seconds = group[-1]["results"]["seconds"]
    libraries = next(iter(seconds))
    lines = [["", "s", f"x `{libraries}`"]]
    for name, times in seconds.items():
        lines.append([f"`{name}`", f"{median(times):.2f}", f"{multiple(times, seconds[libraries]):.2f}"])
    return f"{rounds([group[-1]])} of new processes that take turns.\n\n{table(lines)}"


def training(group: Sequence[Record]) -> str:
    tables = [epochs(record) for record in group]
    return "\n\n".join([f"{rounds(group)}.", *tables, comparison("`fit` in its fastest mode", list(fastest(group)))])


def epochs(record: Record) -> str:
    """Return the times of an epoch as a table of one setting."""
    seconds = record["results"]["seconds"]
    against = [name for name in (BY_HAND, FUSED, NUMPYRO, PRODUCTS) if name in seconds]
    lines = [[title(record["settings"]), "s an epoch", *(f"x {label(name)}" for name in against)]]
    for name, times in seconds.items():
        ratios = [f"{multiple(times, seconds[other]):.2f}" for other in against]
        lines.append([label(name), digits(median(times)), *ratios])
    return table(lines)


def fastest(group: Sequence[Record]) -> Iterator[tuple[str, Ratio]]:
    """Yield each peer with the ratio of the fastest mode of fit to it, for each setting."""
    for record in group:
        seconds = record["results"]["seconds"]
        modes = [name for name in seconds if name.startswith(OWN)]
        if modes:
            own = min(modes, key=lambda name: median(seconds[name]))
            for name in seconds:
                if not name.startswith((OWN, PRODUCTS)):
                    yield label(name), Ratio(title(record["settings"]), multiple(seconds[own], seconds[name]))


def evaluation(group: Sequence[Record]) -> str:
    heads = [title(record["settings"]) for record in group]
    names = unique(name for record in group for name in record["results"]["seconds"])
    lines = [["multiples of the decoder's products", *heads]]
    lines += [[label(name), *(in_products(record, name) for record in group)] for name in names]
    peers = [
        (label(name), Ratio(head, multiple(record["results"]["seconds"][LOG_MARGINAL], times)))
        for record, head in zip(group, heads, strict=True)
        for name, times in record["results"]["seconds"].items()
        if not name.startswith(OWN) and name != DECODER
    ]
    gradients = unique(f"{record['results']['gradients']:,}" for record in group)
    return (
        f"{rounds(group)}; from the smallest to the largest in brackets, then the time of a datum. Annealing is a "
        f"multiple of the products of its own gradients, {' or '.join(gradients)} a datum; a full chunk is as many "
        "data as its chains run on at a time.\n\n"
        f"{table(lines)}\n\n{comparison('`log_marginal`', peers)}"
    )


def in_products(record: Record, name: str) -> str:
    """Return a contender's time as a multiple of the products, and for each datum."""
    seconds, settings = record["results"]["seconds"], record["settings"]
    if name not in seconds:
        return ""
    is_annealed, num_data = name in (ANNEALED, FULL), settings["num_data"]
    of_data = record["results"]["full"] if name == FULL else num_data
    runs = of_data / num_data * (2 * record["results"]["gradients"] / settings["num_samples"] if is_annealed else 1.0)
    ratios = [time / (runs * floor) for time, floor in zip(seconds[name], seconds[DECODER], strict=True)]
    own = f"{digits(1e3 * median(seconds[name]) / of_data)} ms{f' ({of_data} data)' if name == FULL else ''}"
    return f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}), {own}"


def memory(group: Sequence[Record]) -> str:
    lines = [["images", "bytes on disk", "an epoch of training, MB", "evaluating half of them, MB"]]
    in_order = sorted(group, key=lambda record: record["settings"]["num_data"])
    for record in in_order:
        found = record["results"]
        num_data, sizes = record["settings"]["num_data"], (found["training"], found["evaluation"])
        lines.append([f"{num_data:,}", f"{found['on_disk']:,}", *(f"{size / 1e6:.0f}" for size in sizes)])
    first, last = in_order[0], in_order[-1]
    more = last["settings"]["num_data"] - first["settings"]["num_data"]
    if not more:
        return table(lines)
    of_each = {key: (last["results"][key] - first["results"][key]) / more for key in ("training", "evaluation")}
    halves = 2 * of_each["evaluation"]
    return (
        f"{table(lines)}\n\nFrom the smallest array to the largest, the memory of training changes by "
        f"{of_each['training']:+,.0f} bytes for each image, and that of an evaluation by {halves:+,.0f} bytes for each "
        f"image that it evaluates; an image has {first['results']['on_disk'] // first['settings']['num_data']} bytes."
    )


def programs(group: Sequence[Record]) -> str:
    lines = [
        ["program", "batch", "ms a step by hand", *(f"`{mode}` / by hand" for mode in MODES), "`inductor` / `off`"]
    ]
    states = [["program", "recorded", "compiled", "what pyrovae says"]]
    for record in group:
        found, name = record["results"], record["settings"]["program"]
        seconds = found["seconds"]
        hand = seconds.get(HAND)
        by_hand = "" if hand is None else digits(1e3 * median(hand) / found["num_steps"])
        ratios = [over(seconds.get(mode), hand) for mode in MODES]
        own = over(seconds.get("inductor"), seconds.get("off"))
        lines.append([title(record["settings"]), str(record["settings"]["batch_size"]), by_hand, *ratios, own])
        said = unique(sentence for mode in MODES for sentence in found["notes"].get(mode, {}).get("warnings", []))
        states.append([name, share(found, "graph", "replayed"), share(found, "inductor", "compiled"), " ".join(said)])
    peers = [
        (HAND, Ratio(title(record["settings"]), multiple(seconds["inductor"], seconds[HAND])))
        for record in group
        if {"inductor", HAND} <= (seconds := record["results"]["seconds"]).keys()
    ]
    return (
        f"{rounds(group)}; an empty cell has nothing written by hand to compare with.\n\n{table(lines)}\n\n"
        f"{comparison(label('pyrovae, compile=inductor'), peers)}\n\n"
        "Steps of the last epoch that replay the recording (`graph`), or the compiled one (`inductor`):\n\n"
        f"{table(states)}"
    )


def over(times: Sequence[float] | None, against: Sequence[float] | None) -> str:
    """Return the median ratio within rounds, or nothing where one was not measured."""
    return "" if times is None or against is None else f"{multiple(times, against):.2f}"


def share(found: Record, mode: str, what: str) -> str:
    """Say which share of a mode's steps was recorded or compiled."""
    value = found["notes"].get(mode, {}).get(what)
    return "not measured" if value is None else {1.0: "all", 0.0: "none"}.get(value, f"{value:.0%}")


def classes(group: Sequence[Record]) -> str:
    lines = [["", "recorded", "not recorded, and why"]]
    counts = [0, 0]
    for kind, found in group[-1]["results"].items():
        lacking = [f"`{name}`: {reason}" for name, reason in found.items() if reason is not None]
        counts = [counts[0] + len(found), counts[1] + len(lacking)]
        kept = [f"`{name}`" for name, reason in found.items() if reason is None]
        lines.append([kind, ", ".join(kept), "; ".join(lacking)])
    return f"Of {counts[0]} classes with their choices of options, {counts[1]} are not recorded.\n\n{table(lines)}"


SECTIONS: dict[str, Callable[[Sequence[Record]], str]] = {
    "training": training,
    "startup": startup,
    "evaluation": evaluation,
    "memory": memory,
    "programs": programs,
    "classes": classes,
}

if __name__ == "__main__":
    sys.exit(script(main))

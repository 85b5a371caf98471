"""The answers of docs/study.md, each from a part's numbers; nothing here knows a result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from marked_page import table
from results import Found, Kind, Part, Place, between
from wording import NAMES, POOLS, by_verdict, difference, is_percent, many, number

from textreg.compare.table import table as compared
from textreg.evaluate.decisions import DRIFT_MARGIN, UNDECIDED, drifted
from textreg.evaluate.intervals import Measured

NOT_RUN = "Not run yet."
NO_POINTS = "The results hold no curve of each cell (`points`): write them again with `study.py`."
_AT = {"steps": "equal steps", "time": "equal time"}
RIVALS = ("none", "class-images", "output-preservation", "weight-decay")
_HELD_OUT = {
    "drift class_elsewhere": "the class in held-out prompts, drift, %",
    "drift neighbour": "neighbour nouns' drift, %",
    "drift general": "other prompts' drift, %",
    "neighbour read": "neighbours read as their noun, minus base",
    "edits lost": "held-out edits followed, minus base",
}


def amount(part: Part) -> str:
    """How much was run of what was planned."""
    planned = part.content["planned"]
    names, seeds = _members(part.places)
    text = f"{many(names, 'concept')} ({', '.join(names)}) x {many(seeds, 'seed')}"
    if len(names) < planned["concepts"] or len(seeds) < planned["seeds"]:
        text += f", **of {planned['concepts']} x {planned['seeds']} planned**"
    if len(part.places) < 6:
        text += "; with fewer than 6 pairs the test can decide nothing"
    elif len(names) < 6:
        text += f"; {many(names, 'concept')} can say little about others"
    for kind in part.kinds:
        if (places := part.places_of(kind)) != part.places:
            some, own = _members(places)
            text += f". At {_AT[kind]} {many(some, 'concept')} x {many(own, 'seed')}"
    return f"{text}."


def _members(places: Sequence[Place]) -> tuple[list[str], set[int]]:
    return list(dict.fromkeys(concept for concept, _ in places)), {seed for _, seed in places}


def all_priors(part: Part) -> str:
    """The tables of `textreg compare`, but for seconds, which runs of other hours cannot share."""
    blocks: list[str] = []
    for kind in part.kinds:
        heads, *rows = compared(part.content["summary"], kind)
        place = heads.index("s")
        heads, *rows = ([*line[:place], *line[place + 1 :]] for line in (heads, *rows))
        blocks.append(f"At {_AT[kind]}, against {part.reference}:\n\n{table(heads, rows)}")
    return "\n\n".join(blocks)


def gains(part: Part) -> str:
    """What stage 2 adds to the word that all rows of a cell begin with."""
    if "points" not in part.content:
        return NO_POINTS
    word = part.mean_of(part.at_step(part.reference, 0)).value
    whole = part.mean_of(part.gain(part.reference)).value
    rows = []
    for label in part.settings:
        gain = part.mean_of(part.gain(label))
        low, high = (number(x, False, sign=True) for x in (gain.low, gain.high))
        least = min(part.gain(label).values())
        cells = [f"{number(gain.value, False, sign=True)} [{low}, {high}]"]
        rows.append([label, *cells, f"{gain.value / whole:.0%}", number(least, False, sign=True)])
    heads = ["", "fidelity, minus the word's", f"share of {part.reference}'s", "least of any cell"]
    return f"The word alone, at step 0, has fidelity {word:.3f}.\n\n{table(heads, rows)}"


def step_seconds(part: Part) -> str:
    """Seconds of a step, which equal time goes by."""
    (found,) = part.content["equal_time"].values()
    least = found[part.reference]["seconds_per_step"]
    rows = [
        [label, f"{one['seconds_per_step']:.3f}", f"{one['seconds_per_step'] / least:.2f}",
         str(one["steps"])]
        for label, one in found.items()
    ]  # fmt: skip
    heads = ["", "s a step", f"by {part.reference}'s", "steps in equal time"]
    return table(heads, rows)


def rivals(part: Part, references: Sequence[str], kinds: Sequence[Kind]) -> str:
    """TextReg's rows against each of some others: at equal fidelity, and at equal steps, time."""
    own = [label for label in part.ours() if label not in references]
    blocks: list[str] = []
    for reference in references:
        blocks += [f"#### Against {reference}", _equal_fidelity(part, own, reference)]
        if kinds:
            at = " and ".join(_AT[kind] for kind in kinds)
            blocks.append(f"<details><summary>Against {reference}, at {at}</summary>")
            blocks += [_equal(part, own, reference, kind) for kind in kinds]
            blocks.append("</details>")
    return "\n\n".join(blocks) if own and references else NOT_RUN


def _equal_fidelity(part: Part, own: Sequence[str], reference: str) -> str:
    pools = [pool for pool in POOLS if pool != "null"]
    found: dict[str, dict[str, Found]] = {pool: {} for pool in pools}
    for pool in pools:
        for label in own:
            one = part.at_equal_fidelity(label, reference, pool)
            if one is None:
                return NO_POINTS
            found[pool][label] = one
    rows = [
        [label]
        + [
            f"{number(one['own'], True)} / {number(one['reference'], True)}: "
            + difference(one, True)
            for one in (found[pool][label] for pool in pools)
        ]
        + [f"{one['fidelity']:.2f}, {one['above']} of {one['pairs']}"]
        for label in own
        for one in [found["class"][label]]
    ]
    heads = ["at equal fidelity", *(f"{NAMES[f'drift {pool}']}, %" for pool in pools)]
    shown = table([*heads, "fidelity, pairs above the word"], rows)
    return f"{shown}\n\n{_lines({f'drift {p}': one for p, one in found.items()}, 'fidelity')}"


def _equal(part: Part, own: Sequence[str], reference: str, kind: Kind) -> str:
    metrics = [name for name in NAMES if part.has(name)]
    found = {
        metric: {label: part.against(kind, label, reference, metric) for label in own}
        for metric in metrics
    }
    heads = [f"at {_AT[kind]}"]
    heads += [NAMES[name] + (", %" if is_percent(name) else "") for name in metrics]
    rows = [
        [label, *(difference(found[name][label], is_percent(name)) for name in metrics)]
        for label in own
    ]
    return f"{table(heads, rows)}\n\n{_lines(found, kind)}"


def _lines(found: Mapping[str, Mapping[str, Found]], kind: str) -> str:
    heads = {name: "drift of the " + NAMES[name] if is_percent(name) else NAMES[name]
             for name in found}  # fmt: skip
    return "\n".join(
        f"- At equal {kind}, {heads[name]}: {by_verdict(each)}" for name, each in found.items()
    )


def hard_mode(part: Part) -> str:
    """Whether hard mode holds the class prompt, and what it costs."""
    hard, kind = part.labels("textreg", hard=True), part.kinds[0]
    if not hard:
        return NOT_RUN
    rows: list[list[str]] = []
    others = [*part.alone("none"), *part.labels("textreg", hard=False), *part.alone("gated")]
    others += part.alone("weight-decay")
    metrics = [name for name in ("fidelity", "editability") if part.has(name)]
    found: dict[str, dict[str, Found]] = {name: {} for name in metrics}
    for label in hard:
        for other in others:
            costs = {name: part.against(kind, label, other, name) for name in metrics}
            rows.append([label, other, *(difference(one, False) for one in costs.values())])
            for name, one in costs.items():
                found[name][f"{label} against {other}"] = one
    heads = ["", "minus", *(NAMES[name] for name in metrics)]
    costs_in_words = "\n".join(
        f"- At {_AT[kind]}, {NAMES[name]}: {by_verdict(each)}" for name, each in found.items()
    )
    first, *more = hard
    among = [*more, *part.alone("gated")]
    blocks = [held(part), table(heads, rows), costs_in_words]
    if among:
        blocks += [f"Minus *{first}*:", _equal(part, among, first, kind)]
        blocks.append(_equal_fidelity(part, among, first))
    return "\n\n".join(blocks)


def held(part: Part) -> str:
    """Whether hard mode holds class and empty prompt in every cell."""
    kind = part.kinds[0]
    lines: list[str] = []
    for label in part.labels("textreg", hard=True):
        most = {
            pool: max(part.values(kind, label, f"drift {pool}").values())
            for pool in ("class", "null")
        }
        verdict = "held" if max(most.values()) < DRIFT_MARGIN else "**not held**"
        lines.append(
            f"- {label}: {verdict}; largest drift in any of {many(part.places, 'cell')}: "
            f"class prompt {number(most['class'], True)} %, "
            f"empty prompt {number(most['null'], True)} %."
        )
    return "\n".join(lines)


def masks(parts: Mapping[float, Part]) -> str:
    """What the share of masked draws does to the word and to edits."""
    if not parts:
        return NOT_RUN
    first = min(parts)
    metrics = {"text cosine": "text-text cosine", "leakage": "leakage", "attention": "attention"}
    metrics |= {"editability": "edits", "fidelity": "fidelity", "drift neighbour": "neighbours, %"}
    rows: list[list[str]] = []
    found: dict[str, dict[str, Found]] = {name: {} for name in metrics}
    for label in parts[first].settings:
        for ratio, part in sorted(parts.items()):
            cells: list[str] = []
            for name in metrics:
                value = number(part.mean("steps", label, name).value, is_percent(name))
                if ratio != first:
                    one = between((part, parts[first]), label, name)
                    found[name][f"{label}, {ratio:g}"] = one
                    value += f" ({difference(one, is_percent(name))})"
                cells.append(value)
            rows.append([label, f"{ratio:g}", *cells])
    heads = ["", "mask ratio", *metrics.values()]
    lines = "\n".join(
        f"- {head} against ratio {first:g}: {by_verdict(found[name])}"
        for name, head in metrics.items()
        if found[name]
    )
    return f"{table(heads, rows)}\n\n{lines or 'One ratio alone compares with nothing.'}"


def minus(part: Part, *references: str) -> str:
    """All rows of a part, and what each of the others is minus some of them."""
    blocks = [all_priors(part)]
    for reference in references or (part.reference,):
        own = [label for label in part.settings if label != reference]
        blocks += [f"Minus *{reference}*:", _equal(part, own, reference, "steps")]
    return "\n\n".join(blocks)


def at_equal_fidelity(part: Part) -> str:
    """The drift of each row minus the reference's, where both are as faithful."""
    own = [label for label in part.settings if label != part.reference]
    return _equal_fidelity(part, own, part.reference)


def falsifiers(part: Part) -> str:
    """What no term of TextReg mentions: neighbours, prompts outside the pools, held-out edits."""
    kind = part.kinds[0]
    names = {name: head for name, head in _HELD_OUT.items() if part.has(name)}
    rows: list[list[str]] = []
    for label in part.settings:
        cells: list[str] = []
        for name in names:
            if is_percent(name):
                mean = part.mean(kind, label, name)
                low, high = (number(x, True) for x in (mean.low, mean.high))
                cells.append(f"{number(mean.value, True)} [{low}, {high}] {_moved(part, mean)}")
            else:
                cells.append(difference(part.against_nothing(kind, label, name), False))
        rows.append([label, *cells])
    return f"{table(['', *names.values()], rows)}\n\n{_falsified(part, kind, list(names))}"


def _moved(part: Part, mean: Measured) -> str:
    """Held or moved; of a single cell nothing is known."""
    return drifted(mean) if len(part.places) > 1 else UNDECIDED


def _falsified(part: Part, kind: Kind, names: Sequence[str]) -> str:
    lines: list[str] = []
    own = part.ours()
    for name in names if own else ():
        if is_percent(name):
            means: dict[str, Measured] = {label: part.mean(kind, label, name) for label in own}
            verdicts = {label: _moved(part, mean) for label, mean in means.items()}
        else:
            verdicts = {
                label: {"less": "lost", "more": "gained"}.get(one["verdict"], one["verdict"])
                for label in own
                for one in [part.against_nothing(kind, label, name)]
            }
        said = [
            f"**{verdict}** under "
            + ", ".join(f"*{label}*" for label in own if verdicts[label] == verdict)
            for verdict in dict.fromkeys(verdicts.values())
        ]
        lines.append(f"- {_HELD_OUT[name].removesuffix(', %')}: {'; '.join(said)}.")
    return "\n".join(lines)

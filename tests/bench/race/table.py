"""What `make bench` prints: a line a program and an aim, from the JSON's own form."""

from collections.abc import Iterator, Mapping
from typing import Any

from tests.bench.race.figures import OURS

MET = {True: "met", False: "NOT met", None: "not judged"}


def lines(outcome: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of one workload."""
    yield f"({outcome['key']}) {outcome['title']}"
    for row in outcome["programs"]:
        yield f"    {row['name']:16} {figure(row):>24}  {against(row):16} {spread(row):20} {cost(row)}".rstrip()
        for fault in row["faults"]:
            yield f"        no ratio: {fault}"
    for name in outcome["missing"]:
        yield f"    missing: {name}"
    for kind in ("own", "aside"):
        for name, value in outcome[kind].items():
            yield f"    {name}: {value:.4g}"
    for aim in outcome["aims"]:
        yield f"    aim {aim['text']}: {values(aim)}: {MET[aim['met']]}"


def figure(row: Mapping[str, Any]) -> str:
    """Say the median."""
    return "-" if row["median"] is None else f"{row['median']:,.4g} {row['unit']}"


def against(row: Mapping[str, Any]) -> str:
    """Say how many times as fast PPS is."""
    return "" if row["ratio"] is None or row["name"] == OURS else f"PPS is {row['ratio']:.2f} times"


def spread(row: Mapping[str, Any]) -> str:
    """Say how far the rounds lie apart."""
    rounds = len(row["values"])
    return "1 round" if row["spread"] is None else f"± {row['spread'] * 50:.0f} % of {rounds} rounds"


def cost(row: Mapping[str, Any]) -> str:
    """Say what a round took of the machine."""
    cpu = "" if row["cpu"] is None else f"CPU {row['cpu']:.2f} s"
    return cpu + (f", {row['peak_mb']:.0f} MB" if row["peak_mb"] and row["name"] == OURS else "")


def values(aim: Mapping[str, Any]) -> str:
    """Say what was found."""
    return "; ".join("-" if value is None else f"{value:.3g}" for value in aim["values"])

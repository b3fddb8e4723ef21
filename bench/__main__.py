"""Run the benches that are named, and print their rows (see the package's docstring)."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shlex
import shutil
import sys

BENCHES = ["start-up", "compile-time", "per-event", "printf", "map-print", "attach"]


def main() -> int:
    """Parse the words, measure, print a table and write the rows."""
    parser = argparse.ArgumentParser(prog="bench", description="ours and the real one, in turn")
    parser.add_argument("benches", nargs="*", metavar="BENCH", help=", ".join(BENCHES))
    parser.add_argument("--ours", default=f"{sys.executable} -m bpflens bpftrace")
    parser.add_argument("--theirs", help="bpftrace, where it is installed")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", metavar="FILE", help="write the rows there, one a line")
    options = parser.parse_args()
    unknown = set(options.benches) - set(BENCHES)
    if unknown:
        parser.error(f"no bench {', '.join(sorted(unknown))}; there are {', '.join(BENCHES)}")
    if os.geteuid() != 0:
        parser.error("tracing takes root")
    theirs = options.theirs or shutil.which("bpftrace", path="/usr/sbin:/usr/bin:/sbin:/bin")
    sides = {"ours": shlex.split(options.ours), "theirs": shlex.split(theirs) if theirs else None}
    for side, command in sides.items():
        print(f"# {side}: {shlex.join(command) if command else 'not installed'}")
    print(f"# Linux {os.uname().release}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
    print(f"{'case':<28} {'':<22} {'ours':>11} {'theirs':>11} {'':<7}{'ratio':>6}", flush=True)
    rows = []
    for name in options.benches or BENCHES:
        print(f"== {name}", flush=True)
        for row in importlib.import_module(f"bench.{name.replace('-', '_')}").measure(
            sides, options.runs
        ):
            print(row, flush=True)
            values = {
                key: getattr(row, key) for key in ("case", "metric", "unit", "ours", "theirs")
            }
            rows.append({"bench": name, **values, "note": row.note})
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m wengert`: the table of derivatives, and what this installation consists of."""

from __future__ import annotations

import argparse
import os
import platform
import sys

import llvmlite
import numpy

import wengert
from wengert.derivatives import table


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m wengert", description=wengert.__doc__.splitlines()[0])
    parser.add_argument("--version", action="version", version=f"wengert {wengert.__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    derivatives = commands.add_parser("derivatives", help="print the derivative of an operation, or of all")
    derivatives.add_argument("operation", nargs="?", help="for instance log; all if left out")
    commands.add_parser("info", help="print versions, processor and settings")
    given = parser.parse_args(arguments)
    if given.command == "info":
        print(info())
        return 0
    try:
        print(table(given.operation))
    except LookupError as error:
        print(f"wengert derivatives: {error.args[0]}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader, `head` for instance, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def info() -> str:
    """Versions, processor and settings, one a line."""
    rows = {
        "wengert": wengert.__version__,
        "Python": platform.python_version(),
        "NumPy": numpy.__version__,
        "llvmlite": llvmlite.__version__,
        "processor": platform.machine(),
        "threads": wengert.get_num_threads(),
        **{k: v for k, v in vars(wengert.config).items() if not k.startswith("_")},
        "environment": " ".join(f"{k}={v}" for k, v in sorted(os.environ.items()) if k.startswith("WENGERT_")) or "-",
    }
    return "\n".join(f"{k:14} {v}" for k, v in rows.items())


if __name__ == "__main__":
    sys.exit(main())

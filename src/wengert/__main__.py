"""`python -m wengert`: what is installed, what derivatives are known, and the inside of a function in a file."""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
from collections.abc import Callable

import wengert
from wengert.command.target import INPUTS, TargetFailed, UsageError, users_part
from wengert.lazy import lazy

demo = lazy("wengert.command.demo")
drawing = lazy("wengert.command.drawing")
installation = lazy("wengert.command.installation")
derivatives = lazy("wengert.derivatives")

FORMS = ("loop", "llvm", "cuda", "assembly")  # of kernels, as in `wengert.show`
Parser = argparse.ArgumentParser


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Returns the exit status: 0; 1 when the user's program or the system fails; 2 when what was asked
    for makes no sense."""
    given = _parser().parse_args(arguments)
    try:
        text = given.run(given)
        if text is not None:
            print(text, flush=True)
    except TargetFailed as failure:
        cause = failure.__cause__
        traceback.print_exception(cause.with_traceback(users_part(cause.__traceback__)))  # type: ignore[union-attr]
        return 1
    except UsageError as error:
        print(f"wengert {given.command}: {error.args[0]}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader, `head` for instance, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        print(f"wengert {given.command}: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> Parser:
    parser = Parser(prog="python -m wengert", description=wengert.__doc__.splitlines()[0])
    parser.add_argument("--version", action="version", version=f"wengert {wengert.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, about: str, run: Callable, epilog: str | None = None) -> Parser:
        made = commands.add_parser(
            name, help=about, description=f"{about[0].upper()}{about[1:]}.", epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        made.set_defaults(run=run)
        return made

    info = command("info", "print versions, devices, processor and settings", _info)
    info.add_argument("--json", action="store_true", help="as JSON")
    shown = command("demo", "run a first example and show what it did", lambda a: demo.demo(a.points))
    shown.add_argument("--points", type=_positive, default=2000, metavar="N", help="how many points (2000)")
    table = command("derivatives", "print the derivative of an operation, or of all", _derivatives)
    table.add_argument("operation", nargs="?", help="for instance log; all if left out")
    cache = command("cache", "show or clear the cache of compiled kernels", _cache)
    cache.add_argument("action", nargs="?", choices=("show", "clear"), default="show")
    _add_functions(command)
    return parser


def _add_functions(command: Callable[..., Parser]) -> None:
    """The commands that call a function in a file."""
    graph = command("graph", "draw the graph of a function in a file", _graph, INPUTS)
    kernels = command("kernels", "print the plan and the fused kernels that compute a function", _kernels, INPUTS)
    memory = command("memory", "print what backward of a function keeps, by source line", _memory, INPUTS)
    for parser in (graph, kernels, memory):
        parser.add_argument("target", metavar="FILE.py:FUNCTION", help="or package.module:function, or a tensor's name")
        parser.add_argument("--inputs", "-i", nargs="*", default=[], metavar="INPUT", help="one for each parameter")
        parser.add_argument("--seed", type=int, default=0, help="of random inputs (0)")
    graph.add_argument("--output", "-o", metavar="FILE", help=".html, .svg or .dot; DOT is printed if left out")
    graph.add_argument(
        "--saved", action="store_true", help="show what is kept for backward (not for .html: it is there)"
    )
    kernels.add_argument("--form", choices=FORMS, default="loop", help="what to print kernels as (loop)")
    kernels.add_argument("--gradients", "-g", action="store_true", help="with the gradients of all inputs")


def _positive(text: str) -> int:
    n = int(text)
    if n < 1:
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return n


def _info(given: argparse.Namespace) -> str:
    return json.dumps(installation.info(), indent=2) if given.json else installation.info_text()


def _derivatives(given: argparse.Namespace) -> str:
    try:
        return derivatives.table(given.operation)
    except LookupError as error:  # there is no such operation; the text names similar ones
        raise UsageError(error.args[0]) from None


def _cache(given: argparse.Namespace) -> str:
    return installation.clear_cache() if given.action == "clear" else installation.cache_text()


def _graph(given: argparse.Namespace) -> str:
    return drawing.graph(given.target, given.inputs, given.output, given.seed, given.saved)


def _kernels(given: argparse.Namespace) -> str:
    return drawing.kernels(given.target, given.inputs, given.form, given.gradients, given.seed)


def _memory(given: argparse.Namespace) -> str:
    return drawing.memory(given.target, given.inputs, given.seed)


if __name__ == "__main__":
    sys.exit(main())

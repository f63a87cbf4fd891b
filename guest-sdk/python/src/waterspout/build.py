"""``python -m waterspout build MODULE -o NAME.wasm``: componentize-py with what this SDK knows."""

from __future__ import annotations

import argparse
import ast
import importlib.metadata
import importlib.util
import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

from . import _failure

TOOL = "componentize-py"
VERSION = "0.25.0"
"""The one that this was made and tested with: the names of what it generates are its own."""

_HERE = Path(__file__).parent
_APP = """\
from waterspout import _component
_component.load({module!r}, {may_share})
"""
_SHARED = "from waterspout._component import WaterspoutShared\n"
_EXPORTS = "from waterspout._component import Handler\n"


class BuildError(Exception):
    """Why there is no component; told in words for who builds."""


class _PythonError(BuildError):
    """The same in Python's own words: a traceback, or a syntax error with its line."""


def main(arguments: list[str] | None = None) -> int:
    """``python -m waterspout``."""
    parser = argparse.ArgumentParser(prog="python -m waterspout", description="WebSocket handlers for Waterspout")
    parser.add_argument("--version", action="version", version=f"waterspout-guest {_version()}, for {TOOL} {VERSION}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    build_command = commands.add_parser("build", help="make a component of a module")
    _add_arguments(build_command)
    wit = commands.add_parser("wit", help="print the folder with the interface")
    wit.set_defaults(run=lambda _: print(_HERE / "wit"))
    return _run(parser.parse_args(arguments))


def _version() -> str:
    try:
        return importlib.metadata.version("waterspout-guest")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


def componentize(arguments: list[str] | None = None) -> int:
    """``waterspout-componentize``."""
    parser = argparse.ArgumentParser(prog="waterspout-componentize", description="Make a component of a module with a WebSocketHandler")
    _add_arguments(parser)
    return _run(parser.parse_args(arguments))


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("module", help="the module, as in `import MODULE`, or its file")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="the component [default: MODULE.wasm]")
    parser.add_argument("-p", "--python-path", action="append", default=[], metavar="DIR", type=Path, help="where modules are, beside the current folder")
    parser.add_argument(
        "--shared", action=argparse.BooleanOptionalAction, default=None, help="whether it uses waterspout.shared [default: found out]"
    )
    parser.set_defaults(
        run=lambda args: build(args.module, args.output, path=args.python_path, shared=args.shared)
    )


def _run(arguments: argparse.Namespace) -> int:
    try:
        arguments.run(arguments)
    except _PythonError as error:
        print(error, file=sys.stderr)
        return 1
    except BuildError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def build(module: str, output: Path | None = None, *, path: list[Path] | None = None, shared: bool | None = None) -> Path:
    """Makes a component of `module`, whose folder is the current one or one of `path`. Returns the component's file.

    Raises BuildError.
    """
    folders = [Path.cwd(), *(path or [])]
    if module.endswith(".py") or os.sep in module:
        file = Path(module)
        folders.insert(0, file.resolve().parent)
        module = file.stem
    file = _find(module, folders)
    output = output or Path(f"{module.rpartition('.')[2]}.wasm")
    if not output.parent.is_dir():
        raise BuildError(f"there is no folder {output.parent}")
    if shared is None:
        shared = any(_uses_shared(source) for source in _sources(file, folders))
    with tempfile.TemporaryDirectory(prefix="waterspout-") as made:
        app = _APP.format(module=module, may_share=shared) + (_SHARED if shared else "")
        Path(made, "waterspout_app.py").write_text(app)
        Path(made, "waterspout_handler.py").write_text(_EXPORTS)
        _componentize(made, folders, "sharing-guest" if shared else "guest", output)
    return output


def _componentize(made: str, folders: list[Path], world: str, output: Path) -> None:
    # Beside the SDK are the packages that the handler's author has installed, unless it was installed from a checkout.
    packages = [str(_HERE.parent), sysconfig.get_path("purelib")]
    path = list(dict.fromkeys([*map(str, folders), made, *packages]))
    command = [
        *_tool(), "--quiet", "--wit-path", str(_HERE / "wit"), "--world", world, "--world-module", "waterspout_wit",
        "--export-interface-name", "waterspout:websocket/handler@0.1.0=waterspout_handler",
        "--export-interface-name", "waterspout:websocket/shared-state@0.1.0=waterspout_shared",
        "componentize", "waterspout_app", "--output", str(output),
    ]  # fmt: skip
    for folder in path:
        command += ["--python-path", folder]
    # What the tool says of its own calls helps nobody here.
    environment = {**os.environ, "RUST_BACKTRACE": "0"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        raise _reason(done.stderr or done.stdout)


def _tool() -> list[str]:
    beside = Path(sys.executable).with_name(TOOL)
    remedy = f"python -m pip install {TOOL}=={VERSION}"
    if importlib.util.find_spec("componentize_py") is None and not beside.is_file():
        raise BuildError(f"{TOOL} is missing: {remedy}")
    try:
        installed = importlib.metadata.version(TOOL)
    except importlib.metadata.PackageNotFoundError:
        installed = VERSION
    if installed != VERSION:
        raise BuildError(f"{TOOL} {installed} is installed, and this SDK needs {VERSION}: {remedy}")
    if beside.is_file():
        return [str(beside)]
    return [sys.executable, "-c", "import sys, componentize_py; sys.exit(componentize_py.script())"]


def _reason(output: str) -> BuildError:
    """What :mod:`waterspout._component` said, without what the tool says around it; all of it where the tool itself has failed."""
    _, begin, rest = output.partition(_failure.BEGIN)
    said, end, _ = rest.partition(_failure.END)
    if not (begin and end):
        return BuildError(output.strip() or f"{TOOL} failed and said nothing")
    kind, _, words = said.partition("\n")
    return (_PythonError if kind == _failure.EXCEPTION else BuildError)(words.rstrip())


def _find(module: str, folders: list[Path]) -> Path:
    parts = Path(*module.split("."))
    for folder in folders:
        for file in (folder / parts.with_suffix(".py"), folder / parts / "__init__.py"):
            if file.is_file():
                return file
    where = ", ".join(map(str, folders))
    raise BuildError(f"there is no module {module} in {where}")


def _sources(file: Path, folders: list[Path]) -> Iterator[ast.Module]:
    """The module and those of the project that it imports. What this Python cannot read is passed over: the component's may, and if not, says
    so itself."""
    pending, seen = [file], set()
    while pending:
        current = pending.pop()
        if current in seen or _HERE in current.parents:
            continue
        seen.add(current)
        try:
            tree = ast.parse(current.read_bytes())
        except (SyntaxError, ValueError):
            continue
        yield tree
        for node in ast.walk(tree):
            names: list[str] = []
            near = folders
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                if node.level:
                    near = [current.parents[node.level - 1]]
                names = [base] if base else []
                names += [f"{base}.{alias.name}".strip(".") for alias in node.names]
            for name in names:
                try:
                    pending.append(_find(name, near))
                except BuildError:
                    pass


def _uses_shared(tree: ast.Module) -> bool:
    nodes = list(ast.walk(tree))
    # What the module calls the package, and whether it has taken all of its names.
    packages: set[str] = set()
    imports_all = False
    for node in nodes:
        if isinstance(node, ast.Import):
            packages |= {alias.asname or alias.name for alias in node.names if alias.name == "waterspout"}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module in ("waterspout", "waterspout.sharing"):
            names = {alias.name for alias in node.names}
            if "shared" in names:
                return True
            imports_all |= "*" in names
    for node in nodes:
        if isinstance(node, ast.Attribute) and node.attr == "shared" and isinstance(node.value, ast.Name) and node.value.id in packages:
            return True
        if imports_all and isinstance(node, ast.Name) and node.id == "shared":
            return True
    return False

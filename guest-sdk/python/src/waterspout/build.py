"""``python -m waterspout build MODULE -o NAME.wasm``: componentize-py with what this SDK knows."""

from __future__ import annotations

import argparse
import ast
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

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


def main(arguments: list[str] | None = None) -> int:
    """``python -m waterspout``."""
    parser = argparse.ArgumentParser(prog="python -m waterspout", description="WebSocket handlers for Waterspout")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    build_command = commands.add_parser("build", help="make a component of a module")
    _add_arguments(build_command)
    wit = commands.add_parser("wit", help="print the folder with the interface")
    wit.set_defaults(run=lambda _: print(_HERE / "wit"))
    return _run(parser.parse_args(arguments))


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
    _check_syntax(file)
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
    # The handler's folder first: its tracebacks then begin with a name that can be left out.
    path = list(dict.fromkeys([*map(str, folders), made, str(_HERE.parent)]))
    command = [
        *_tool(), "--quiet", "--wit-path", str(_HERE / "wit"), "--world", world, "--world-module", "waterspout_wit",
        "--export-interface-name", "waterspout:websocket/handler@0.1.0=waterspout_handler",
        "--export-interface-name", "waterspout:websocket/shared-state@0.1.0=waterspout_shared",
        "componentize", "waterspout_app", "--output", str(output),
    ]  # fmt: skip
    for folder in path:
        command += ["--python-path", folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BuildError(_told(done.stderr or done.stdout, path))


def _tool() -> list[str]:
    beside = Path(sys.executable).with_name(TOOL)
    if importlib.util.find_spec("componentize_py") is None and not beside.is_file():
        raise BuildError(f"{TOOL} is missing: python -m pip install {TOOL}=={VERSION}")
    if beside.is_file():
        return [str(beside)]
    return [sys.executable, "-c", "import sys, componentize_py; sys.exit(componentize_py.script())"]


def _told(output: str, path: list[str]) -> str:
    """What Python said, without what the tool says about itself: its traceback begins where the tool's own chain of causes ends."""
    for number, folder in enumerate(path):
        output = output.replace(f'"/{number}/', f'"{folder}/' if folder != str(Path.cwd()) else '"')
    lines = output.splitlines()
    starts = [at for at, line in enumerate(lines) if line.startswith("Traceback (most recent call last)")]
    if starts:
        lines = lines[starts[0] :]
    return "\n".join(lines).strip() or f"{TOOL} failed and said nothing"


def _find(module: str, folders: list[Path]) -> Path:
    parts = Path(*module.split("."))
    for folder in folders:
        for file in (folder / parts.with_suffix(".py"), folder / parts / "__init__.py"):
            if file.is_file():
                return file
    where = ", ".join(map(str, folders))
    raise BuildError(f"there is no module {module} in {where}")


def _check_syntax(file: Path) -> None:
    """Python says it best, and long before the tool would."""
    try:
        compile(file.read_bytes(), str(file), "exec", dont_inherit=True)
    except SyntaxError as error:
        import traceback

        raise BuildError("".join(traceback.format_exception_only(error)).strip()) from None


def _sources(file: Path, folders: list[Path]) -> Iterator[ast.Module]:
    """The module and those of the project that it imports."""
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
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "waterspout" and any(a.name == "shared" for a in node.names):
            return True
        if isinstance(node, ast.Attribute) and node.attr == "shared" and isinstance(node.value, ast.Name):
            if node.value.id in ("waterspout", "ws"):
                return True
    return False

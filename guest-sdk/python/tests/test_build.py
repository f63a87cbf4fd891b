"""The builder, as far as it needs no tool: what it finds, what it finds wrong."""

import contextlib
import io
import os
import re
import subprocess
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from waterspout import build


class Building(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(folder.name)

    def run_with(self, *arguments):
        with mock.patch.object(build, "_componentize") as tool, contextlib.redirect_stderr(io.StringIO()) as told:
            code = build.main(["build", *arguments])
        return code, tool.call_args and tool.call_args.args[2], told.getvalue()

    def test_a_module_that_is_not_there_is_told_with_where_it_was_looked_for(self):
        code, _, told = self.run_with("handler")
        self.assertEqual(code, 1)
        self.assertIn(f"there is no module handler in {os.getcwd()}", told)

    def test_the_world_follows_from_whether_shared_is_used_anywhere_in_the_project(self):
        Path("handler.py").write_text("from rooms.state import room\n")
        Path("rooms").mkdir()
        Path("rooms/__init__.py").write_text("")
        for source, world in (
            ("room = {}", "guest"),
            ("from waterspout import shared\nroom = shared({})", "sharing-guest"),
            ("import waterspout\nroom = waterspout.shared({})", "sharing-guest"),
            ("import json, waterspout as w\nroom = w.shared({})", "sharing-guest"),
            ("import json as w\nroom = w.shared({})", "guest"),
            ("from waterspout import *\nroom = shared({})", "sharing-guest"),
            ("from waterspout import *\nroom = {}", "guest"),
            ("from waterspout.sharing import shared as common\nroom = common({})", "sharing-guest"),
            ("from .waterspout import shared\nroom = shared({})", "guest"),
        ):
            Path("rooms/state.py").write_text(source)
            self.assertEqual(self.run_with("handler")[1], world)
            self.assertEqual(self.run_with("handler.py")[1], world)
        self.assertEqual(self.run_with("handler", "--no-shared")[1], "guest")

    def test_the_tool_is_pinned_once(self):
        text = (Path(__file__).parents[1] / "pyproject.toml").read_text()
        self.assertEqual(re.search(r"componentize-py==([\d.]+)", text)[1], build.VERSION)

    def test_another_version_of_the_tool_is_told_with_what_to_install(self):
        Path("handler.py").write_text("")
        with mock.patch.object(build.importlib.metadata, "version", return_value="0.1"):
            with mock.patch.object(build.importlib.util, "find_spec"), contextlib.redirect_stderr(io.StringIO()) as stderr:
                self.assertEqual(build.main(["build", "handler"]), 1)
        self.assertIn(f"componentize-py 0.1 is installed, and this SDK needs {build.VERSION}: python -m pip install", stderr.getvalue())

    def test_what_the_component_said_is_left_of_what_the_tool_says(self):
        def tool_says(output):
            return mock.patch.object(subprocess, "run", return_value=mock.Mock(returncode=1, stderr=output, stdout=""))

        Path("handler.py").write_text("")
        for output, told in (
            ('AssertionError: \x02waterspout:exception\nZeroDivisionError: no\x03\nCaused by:\n    trap', "ZeroDivisionError: no\n"),
            ("AssertionError: \x02waterspout:mistake\nhandler has no handler\x03", "error: handler has no handler\n"),
            ("no such world\n", "error: no such world\n"),
            ("", "error: componentize-py failed and said nothing\n"),
        ):
            with tool_says(output), mock.patch.object(build, "_tool", return_value=["tool"]):
                with contextlib.redirect_stderr(io.StringIO()) as stderr:
                    self.assertEqual(build.main(["build", "handler"]), 1)
            self.assertEqual(stderr.getvalue(), told)

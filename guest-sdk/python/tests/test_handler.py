"""The handler class against a host that is only told, and its adapter."""

import contextlib
import io
import unittest
from datetime import timedelta

import waterspout
from tests.fakes import FakeConnection, FakeRequest
from waterspout import _component, _wit
from waterspout import WebSocketHandler


def adapted(kind, connection=None, request=None):
    """The exported object of a handler class, opened if there is a connection."""
    _component.choose = lambda _: kind
    exported = _component.Handler(request or FakeRequest())
    if connection is not None:
        exported.open(connection)
    return exported


class Echo(WebSocketHandler):
    def on_message(self, message):
        self.write_message(message)


class Writing(unittest.TestCase):
    def test_text_is_text_bytes_are_binary_and_a_dict_is_json(self):
        connection = FakeConnection()
        handler = adapted(WebSocketHandler, connection)._handler
        for message in ("grüß", b"\0", bytearray(b"a"), memoryview(b"b"), {"a": ["ü", None]}):
            handler.write_message(message)
        handler.write_message("text", binary=True)
        text, binary = _wit.types.Message_Text, _wit.types.Message_Binary
        expected = [text("grüß"), binary(b"\0"), binary(b"a"), binary(b"b"), text('{"a":["ü",null]}'), binary(b"text")]
        self.assertEqual(connection.sent, expected)

    def test_what_is_no_message_is_a_type_error_and_a_lone_surrogate_is_invalid(self):
        handler = adapted(WebSocketHandler, FakeConnection())._handler
        for message in (None, 1, ["list"]):
            with self.assertRaises(TypeError):
                handler.write_message(message)
        with self.assertRaises(waterspout.InvalidError):
            handler.write_message("\ud800")
        with self.assertRaises(waterspout.InvalidError):
            handler.close(1000, "\udfff")

    def test_each_error_of_the_host_is_an_exception_of_one_family(self):
        types = _wit.types
        for error, family in {
            types.Error_Closed: waterspout.WebSocketClosedError,
            types.Error_BufferFull: waterspout.BufferFullError,
            types.Error_Timeout: TimeoutError,
            types.Error_Denied: waterspout.DeniedError,
        }.items():
            handler = adapted(WebSocketHandler, FakeConnection(error=error()))._handler
            with self.assertRaises(family) as raised:
                handler.write_message("x")
            self.assertIsInstance(raised.exception, waterspout.WebSocketError)
        handler = adapted(WebSocketHandler, FakeConnection(error=types.Error_Limit("max-message-bytes")))._handler
        with self.assertRaisesRegex(waterspout.LimitReachedError, "max-message-bytes"):
            handler.write_message("x")

    def test_closing_what_has_ended_is_nothing_and_writing_to_it_an_error(self):
        exported = adapted(WebSocketHandler, connection := FakeConnection())
        handler = exported._handler
        exported.on_close(None)
        handler.close(1000)
        self.assertEqual((connection.closed, handler.id, handler.buffered_amount), ([], "c1", 0))
        with self.assertRaises(waterspout.WebSocketClosedError):
            handler.write_message("x")

    def test_a_delay_is_rounded_up_to_milliseconds_and_bounded(self):
        connection = FakeConnection()
        handler = adapted(WebSocketHandler, connection)._handler
        for token, delay in enumerate((0, 0.0001, 0.007, 1.5, timedelta(seconds=2))):
            handler.set_timer(token, delay)
        self.assertEqual(list(connection.timers.values()), [0, 1, 7, 1500, 2000])
        for delay in (-1, 2**31 / 1000, float("nan"), float("inf")):
            with self.assertRaises(waterspout.InvalidError):
                handler.set_timer(0, delay)
        handler.set_timer(2**32 - 1, 0)
        for token in (-1, 2**32):
            with self.assertRaises(waterspout.InvalidError):
                handler.set_timer(token, 0)


class Calls(unittest.TestCase):
    def test_open_gets_of_the_path_what_it_has_parameters_for(self):
        class Recorder(WebSocketHandler):
            pass

        named, unnamed = (("0", "a"), ("room", "blue")), (("0", "a"), ("1", "b"))
        for open, arguments, expected in (
            (lambda self: setattr(self, "got", ()), named, ()),
            (lambda self, room: setattr(self, "got", room), named, "blue"),
            (lambda self, room="red", other=1: setattr(self, "got", (room, other)), named, ("blue", 1)),
            (lambda self, **kwargs: setattr(self, "got", kwargs), named, {"room": "blue"}),
            (lambda self: setattr(self, "got", ()), unnamed, ()),
            (lambda self, first: setattr(self, "got", first), unnamed, "a"),
            (lambda self, *args: setattr(self, "got", args), unnamed, ("a", "b")),
        ):
            kind = type("Kind", (Recorder,), {"open": open})
            exported = adapted(kind, FakeConnection(), FakeRequest(path_args=arguments))
            self.assertEqual(exported._handler.got, expected)

    def test_an_async_method_may_await_what_it_writes_and_nothing_else(self):
        class Async(WebSocketHandler):
            async def on_message(self, message):
                if message == "sleep":
                    import asyncio

                    await asyncio.sleep(1)
                await self.write_message(message)

        connection = FakeConnection()
        exported = adapted(Async, connection)
        exported.on_message(_wit.types.Message_Text("hello"))
        self.assertEqual(connection.sent, [_wit.types.Message_Text("hello"), "flush"])
        with self.assertRaises(RuntimeError):
            exported.on_message(_wit.types.Message_Text("sleep"))

    def test_a_connection_of_ones_own_is_awaited_as_in_tornado(self):
        class Upstream(WebSocketHandler):
            async def open(self):
                self.upstream = await waterspout.ClientConnection(upstream)
                await self.upstream.write_message("hello")

        upstream = FakeConnection("u1")
        handler = adapted(Upstream, FakeConnection())._handler
        self.assertEqual((handler.upstream.id, upstream.sent), ("u1", [_wit.types.Message_Text("hello"), "flush"]))

    def test_a_rejection_is_raised_or_returned(self):
        class Raises(WebSocketHandler):
            def prepare(self):
                raise waterspout.Rejection(418, "teapot", {"x-why": "tea"})

        class Returns(WebSocketHandler):
            def prepare(self):
                return waterspout.Rejection.redirect("/login")

        class Redirects(WebSocketHandler):
            def prepare(self):
                self.redirect("/login", permanent=True)

        class Fails(WebSocketHandler):
            def prepare(self):
                self.send_error(403, reason="not you")

        for kind, status, body in ((Redirects, 301, b""), (Fails, 403, b"403: not you")):
            with self.assertRaises(_wit.Err) as raised:
                adapted(kind).prepare()
            self.assertEqual((raised.exception.value.status, raised.exception.value.body), (status, body))
        with self.assertRaises(_wit.Err) as raised:
            adapted(Raises).prepare()
        rejection = raised.exception.value
        self.assertEqual((rejection.status, rejection.body), (418, b"teapot"))
        self.assertEqual(rejection.headers, [("content-type", "text/plain; charset=utf-8"), ("x-why", "tea")])
        with self.assertRaises(_wit.Err) as raised:
            adapted(Returns).prepare()
        self.assertEqual((raised.exception.value.status, raised.exception.value.headers), (302, [("Location", "/login")]))

    def test_a_missing_argument_is_400_with_a_line_in_the_log(self):
        class Needs(WebSocketHandler):
            def prepare(self):
                self.get_argument("colour")

        with contextlib.redirect_stderr(io.StringIO()) as log, self.assertRaises(_wit.Err) as raised:
            adapted(Needs).prepare()
        self.assertEqual((raised.exception.value.status, raised.exception.value.body), (400, b"400: Bad Request"))
        self.assertIn("Missing argument colour", log.getvalue())

    def test_the_close_frame_is_on_the_handler_and_the_handles_are_given_back(self):
        class Closing(WebSocketHandler):
            def on_close(self):
                told.append((self.close_code, self.close_reason))

        told = []
        for frame in (None, _wit.types.CloseFrame(1005, ""), _wit.types.CloseFrame(4000, "bye")):
            connection, request = FakeConnection(), FakeRequest()
            adapted(Closing, connection, request).on_close(frame)
            self.assertTrue(connection.dropped and request.dropped)
        self.assertEqual(told, [(None, None), (1005, ""), (4000, "bye")])


class Choice(unittest.TestCase):
    def test_a_module_with_one_handler_needs_to_say_nothing(self):
        class Base(WebSocketHandler):
            pass

        class Only(Base):
            pass

        Base.__module__ = Only.__module__ = "handler"
        names = {"Base": Base, "Only": Only, "WebSocketHandler": WebSocketHandler, "Echo": Echo}
        self.assertEqual(_component._classes("handler", names), [Only])
        self.assertEqual(_component._classes("other", {"Echo": Echo}), [Echo])

    def test_none_or_several_are_told_with_what_to_do(self):
        for classes, told in (([], "no handler"), ([Echo, WebSocketHandler], "several handlers")):
            with self.assertRaisesRegex(_component.Mistake, told):
                _component._choice("handler", classes)


class Failures(unittest.TestCase):
    def told(self, failing):
        try:
            failing()
        except Exception as error:
            return _component._told(type(error), error, error.__traceback__)

    def test_what_the_sdk_called_in_between_is_not_shown(self):
        handler = adapted(WebSocketHandler, FakeConnection())._handler
        told = self.told(lambda: handler.set_timer("token", 1))
        self.assertIn("a timer's token is an int, not str", told)
        self.assertIn("test_handler.py", told)
        self.assertNotIn("values.py", told)

    def test_endless_recursion_is_shown_in_part(self):
        def again():
            again()

        told = self.told(again)
        self.assertTrue(told.startswith("Traceback (most recent call last):"), told)
        self.assertIn("RecursionError", told)
        self.assertLess(len(told.splitlines()), 2 * _component.MAX_FRAMES)

    def test_a_syntax_error_is_told_with_its_line_and_the_file_as_the_author_calls_it(self):
        told = self.told(lambda: compile("def x(:\n", "/0/handler.py", "exec"))
        self.assertIn('File "handler.py", line 1\n    def x(:\n', told)
        self.assertTrue(told.endswith("SyntaxError: invalid syntax\n"), told)

    def test_a_class_that_is_no_handler_is_not_exported(self):
        class Plain:
            pass

        for what in (Plain, 1):
            with self.assertRaisesRegex(TypeError, "neither a class that extends WebSocketHandler nor a function"):
                _component.export(what)

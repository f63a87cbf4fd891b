"""What a request answers."""

import unittest

from tests.fakes import FakeRequest
from waterspout import InvalidError, Request, WebSocketHandler


class Requests(unittest.TestCase):
    def test_headers_are_found_in_any_case_and_repeated_ones_are_told_apart(self):
        headers = Request(FakeRequest(headers=[("x-many", b"1"), ("host", b"a"), ("X-Many", b"\xff")])).headers
        self.assertEqual((headers["X-MANY"], headers.get_list("x-many"), headers.get("x-none")), ("1,ÿ", ["1", "ÿ"], None))
        self.assertEqual((list(headers), "HOST" in headers), (["X-Many", "Host"], True))

    def test_cookies_are_found_as_tornado_finds_them(self):
        cookies = [("cookie", b'session=abc; quoted="a\\054b"; =none; bad name=1; empty='), ("cookie", b"theme=dark=1; broken")]
        handler = WebSocketHandler(Request(FakeRequest(headers=cookies)))
        values = {name: morsel.value for name, morsel in handler.cookies.items()}
        self.assertEqual(values, {"session": "abc", "quoted": "a,b", "empty": "", "theme": "dark=1"})
        self.assertEqual((handler.get_cookie("session"), handler.get_cookie("none"), handler.get_cookie("none", "x")), ("abc", None, "x"))
        self.assertEqual(dict(WebSocketHandler(Request(FakeRequest())).cookies), {})

    def test_arguments_are_decoded_as_tornado_does(self):
        def values(query, name="a", **options):
            return Request(FakeRequest(f"/?{query}")).get_arguments(name, **options)

        self.assertEqual(values("a=1&b=2&a=3"), ["1", "3"])
        self.assertEqual(values("greeting=gr%C3%BC%c3%9f+dich", "greeting"), ["grüß dich"])
        self.assertEqual(values("a=100%&a=%zz&a=%ff"), ["100%", "%zz", "\ufffd"])
        self.assertEqual(values("a=%20x%00y%1bz%20"), ["x y z"])
        self.assertEqual(values("a=+x+", strip=False), [" x "])
        self.assertEqual((values("a=&&b"), values("b"), values("")), ([""], [], []))

    def test_captures_with_and_without_a_name(self):
        request = Request(FakeRequest(path_args=[("0", "a"), ("room", "blue")]))
        self.assertEqual((request.path_args, request.path_kwargs), (["a"], {"room": "blue"}))

    def test_what_was_asked_for_stays_and_the_rest_is_empty_after_the_end(self):
        request = Request(FakeRequest())
        self.assertEqual(request.remote_ip, "192.0.2.7")
        request._end()
        self.assertEqual((request.remote_ip, request.uri, request.has_query, len(request.headers)), ("192.0.2.7", "", False, 0))

    def test_an_empty_query_is_not_none(self):
        self.assertEqual([Request(FakeRequest(uri)).has_query for uri in ("/", "/?")], [False, True])

    def test_a_header_that_may_not_be_set_is_invalid(self):
        with self.assertRaises(InvalidError):
            Request(FakeRequest()).set_response_header("connection", "close")

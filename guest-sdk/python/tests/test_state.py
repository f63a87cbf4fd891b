"""What goes along when a handler is replaced."""

import contextlib
import io
import pickle
import unittest

from tests.fakes import FakeConnection, FakeRequest
from waterspout import ClientConnection, WebSocketHandler, _component, _state, _wit, sharing


class Kept(WebSocketHandler):
    def initialize(self):
        self.added = "by the new version"


class Room:
    def __init__(self):
        self.people, self.added = [], "by the new version"


def resumed(kind, state, id="c1"):
    _component.choose = lambda _: kind
    return _component.Handler.resume(FakeRequest(), FakeConnection(id), state)._handler


class Swaps(unittest.TestCase):
    def setUp(self):
        _state.shared.clear()
        _state.resumed.clear()

    def opened(self, kind, id="c1"):
        _component.choose = lambda _: kind
        exported = _component.Handler(FakeRequest())
        exported.open(FakeConnection(id))
        return exported

    def test_attributes_of_every_kind_go_along_and_new_ones_have_their_default(self):
        old = self.opened(Kept)
        fields = {"text": "ü\0", "bytes": b"\xff", "set": {1, 2}, "map": {(1, 2): None}, "number": 1e300}
        old._handler.__dict__.update(fields)
        old._handler.upstream, old._handler.me = ClientConnection(None, "u1"), old._handler
        del old._handler.added
        new = resumed(Kept, old.suspend())
        self.assertEqual({name: getattr(new, name) for name in fields}, fields)
        self.assertEqual((new.added, new.upstream.id), ("by the new version", "u1"))
        self.assertIs(new.me, new)

    def test_what_cannot_be_pickled_is_named_and_nothing_moves(self):
        old = self.opened(Kept)
        old._handler.callback = lambda: None
        with contextlib.redirect_stderr(io.StringIO()) as log:
            self.assertIsNone(old.suspend())
        self.assertIn("Kept cannot be suspended (`callback`)", log.getvalue())

    def test_an_exception_refuses_with_its_words(self):
        class Refusing(WebSocketHandler):
            def resume(self, state):
                raise ValueError("not this state")

        for state, told in ((b"", "ValueError: not this state"),):
            with contextlib.redirect_stderr(io.StringIO()), self.assertRaises(_wit.Err) as raised:
                resumed(Refusing, state)
            self.assertEqual(raised.exception.value, told)
        for state in (b"", b"WSS\x01", _state.HEADER, _state.HEADER + pickle.dumps(1), _state.HEADER + b"junk"):
            with contextlib.redirect_stderr(io.StringIO()), self.assertRaises(_wit.Err):
                resumed(Kept, state)

    def test_handlers_that_know_each_other_through_what_they_share_still_do(self):
        room = sharing.shared(Room())
        one, two = self.opened(Kept, "c1"), self.opened(Kept, "c2")
        room.people += [one._handler, two._handler]
        one._handler.room = room
        states, common = [one.suspend(), two.suspend()], sharing.suspend()
        room.people, room.added = [], "newer"
        sharing.resume(common)
        handlers = [resumed(Kept, state, id) for state, id in zip(states, ("c1", "c2"))]
        self.assertEqual(room.people, handlers)
        self.assertIs(handlers[0].room, room)
        self.assertEqual([handler.id for handler in room.people], ["c1", "c2"])

    def test_slots_of_a_handlers_own_go_along_and_may_become_attributes(self):
        class Slotted(WebSocketHandler):
            __slots__ = ("count", "__secret", "never_set")

            def initialize(self):
                self.count, self.__secret = 0, 0

        class Plain(WebSocketHandler):
            pass

        class Within(Slotted):
            pass

        old = self.opened(Within)
        old._handler.count, old._handler._Slotted__secret, old._handler.other = 7, 8, 9
        state = old.suspend()
        for kind in (Within, Slotted, Plain):
            new = resumed(kind, state)
            self.assertEqual((new.count, new._Slotted__secret, new.other), (7, 8, 9))
            self.assertFalse(hasattr(new, "never_set"))

    def test_what_is_shared_is_not_taken_over_under_another_name_or_as_something_else_and_nothing_has_happened(self):
        scores, history = sharing.shared({"a": 1}), sharing.shared([1], "history")
        state = sharing.suspend()
        scores["a"], history[:] = 2, []
        known = dict(_state.shared)
        for others, told in (
            ({"dict": scores}, "the old version shares 'history', which this one does not"),
            ({"dict": scores, "history": Room()}, "shared 'history' was of the kind list, and is object with attributes"),
            ({"dict": scores, "history": {}}, "shared 'history' was of the kind list, and is dict"),
        ):
            _state.shared.clear()
            _state.shared.update(others)
            with contextlib.redirect_stderr(io.StringIO()), self.assertRaises(_wit.Err) as raised:
                _component.WaterspoutShared().resume(state)
            self.assertIn(told, raised.exception.value)
        self.assertEqual((scores, history), ({"a": 2}, []))
        _state.shared.clear()
        _state.shared.update(known)
        sharing.resume(state)
        self.assertEqual((scores, history), ({"a": 1}, [1]))

    def test_a_shared_object_may_contain_itself_and_others(self):
        room, people = sharing.shared(Room()), sharing.shared([], "people")
        room.itself, room.people = room, people
        people.append(people)
        state = sharing.suspend()
        room.itself = room.people = None
        people.clear()
        sharing.resume(state)
        self.assertIs(room.itself, room)
        self.assertIs(room.people, people)
        self.assertIs(people[0], people)

    def test_shared_containers_keep_their_identity(self):
        history = sharing.shared([1, 2], "history")
        scores = sharing.shared({"a": 1})
        state = sharing.suspend()
        history[:], scores["b"] = [], 2
        sharing.resume(state)
        self.assertEqual((history, scores), ([1, 2], {"a": 1}))
        with self.assertRaises(ValueError):
            sharing.shared([], "history")
        with self.assertRaises(TypeError):
            sharing.shared(1)

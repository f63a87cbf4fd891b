"""The example guest chat."""

import json
import uuid
from contextlib import AsyncExitStack, asynccontextmanager

from tornado.websocket import websocket_connect

from checks import UNICODE, Checks, dial, expect, fill

suite = Checks("chat")

# Rooms outlive their last person for a while: those of another run are other rooms.
THIS_RUN = uuid.uuid4().hex[:8]


def room_address(url, room):
    return fill(url, room=f"{THIS_RUN} {room}")


class Person:
    """Somebody in a room. `events` are what the room says, in order."""

    def __init__(self, connection):
        self.connection = connection

    @classmethod
    @asynccontextmanager
    async def in_room(cls, url, room, name):
        """Joins with `websockets`; welcome and the own arrival are taken off the events."""
        async with dial(room_address(url, room)) as connection:
            person = cls(connection)
            await person.send(type="join", name=name)
            person.history = (await person.event("welcome"))["history"]
            person.people = (await person.event("joined"))["people"]
            yield person

    async def send(self, **request):
        await self.connection.send(json.dumps(request))

    async def event(self, kind):
        event = json.loads(await self.connection.recv())
        expect("event", event["type"], kind)
        return event


@suite
async def two_in_a_room_see_each_other(url):
    async with Person.in_room(url, "two in a room", "Ada") as ada:
        expect("people", ada.people, ["Ada"])
        async with Person.in_room(url, "two in a room", "Bob") as bob:
            expect("people", bob.people, ["Ada", "Bob"])
            expect("who came", (await ada.event("joined"))["name"], "Bob")
            await bob.send(type="say", text=UNICODE)
            for person in [ada, bob]:
                said = await person.event("said")
                expect("said", (said["name"], said["text"]), ("Bob", UNICODE))
        left = await ada.event("left")
        expect("who left, who stays", (left["name"], left["people"]), ("Bob", ["Ada"]))


@suite
async def a_newcomer_is_sent_the_history(url):
    async with Person.in_room(url, "history", "Ada") as ada:
        for text in ["one", "two", "three"]:
            await ada.send(type="say", text=text)
            await ada.event("said")
        async with Person.in_room(url, "history", "Bob") as bob:
            expect("history", [line["text"] for line in bob.history], ["one", "two", "three"])


@suite
async def rooms_do_not_hear_each_other(url):
    async with Person.in_room(url, "upstairs", "Ada") as ada, Person.in_room(url, "downstairs", "Ada") as other:
        await ada.send(type="say", text="anybody?")
        await ada.event("said")
        await other.send(type="say", text="hello")
        expect("said", (await other.event("said"))["text"], "hello")


@suite
async def one_room_however_its_name_is_encoded(url):
    async with Person.in_room(url, "café", "Ada"):
        assert "caf%C3%A9" in room_address(url, "café")
        async with dial(room_address(url, "café").replace("caf%C3%A9", "%63af%c3%a9")) as connection:
            bob = Person(connection)
            await bob.send(type="join", name="Bob")
            await bob.event("welcome")
            expect("people", (await bob.event("joined"))["people"], ["Ada", "Bob"])


@suite
async def a_name_that_is_taken_and_nonsense_are_errors_not_ends(url):
    async with Person.in_room(url, "errors", "Ada") as ada, dial(room_address(url, "errors")) as connection:
        other = Person(connection)
        await other.send(type="say", text="too early")
        expect("error", (await other.event("error"))["text"], "Join first.")
        await other.send(type="join", name="ada")
        expect("error", (await other.event("error"))["text"], "Somebody here has that name.")
        await connection.send("{")
        expect("error", (await other.event("error"))["text"], "That was neither a join nor a say.")
        await other.send(type="join", name="Bob")
        await other.event("welcome")
        expect("who came", (await ada.event("joined"))["name"], "Bob")


@suite
async def somebody_whose_connection_is_cut_has_left(url):
    async with Person.in_room(url, "cut", "Ada") as ada:
        async with Person.in_room(url, "cut", "Bob") as bob:
            await ada.event("joined")
            bob.connection.transport.abort()
            expect("who left", (await ada.event("left"))["name"], "Bob")


@suite
async def tornados_client_talks_to_websockets(url):
    async with Person.in_room(url, "interop", "Ada") as ada:
        tornado_client = await websocket_connect(room_address(url, "interop"))
        await tornado_client.write_message({"type": "join", "name": "Tom"})
        expect("event", json.loads(await tornado_client.read_message())["type"], "welcome")
        expect("event", json.loads(await tornado_client.read_message())["type"], "joined")
        expect("who came", (await ada.event("joined"))["name"], "Tom")
        await ada.send(type="say", text="hello, Tom")
        await ada.event("said")
        expect("said", json.loads(await tornado_client.read_message())["text"], "hello, Tom")
        tornado_client.close()
        expect("who left", (await ada.event("left"))["name"], "Tom")


@suite
async def fifty_people_all_hear_every_line(url):
    async with AsyncExitStack() as stack:
        people = []
        for number in range(50):
            people.append(await stack.enter_async_context(Person.in_room(url, "crowd", f"Person {number}")))
            for earlier in people[:-1]:
                await earlier.event("joined")
        for speaker in people[:5]:
            await speaker.send(type="say", text=f"{speaker.people[0]} hears me")
        for person in people:
            texts = [(await person.event("said"))["text"] for _ in range(5)]
            expect("lines", texts, ["Person 0 hears me"] * 5)

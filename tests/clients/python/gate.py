"""The example guest gatekeeper."""

import json

from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

from checks import Checks, dial, expect, fill, http_address, refusal, refused_status

# What its configuration lets in (example-guests/rust/gatekeeper).
TOKEN = "sesame"
SHOWN = {"Authorization": f"Bearer {TOKEN}"}
DOMAIN = "example.com"

suite = Checks("gatekeeper")


@suite
async def without_the_token_it_answers_401(url):
    for headers in [{}, {"Authorization": "Bearer open"}, {"Authorization": f"Basic {TOKEN}"}]:
        response = await refusal(fill(url, area="garden"), additional_headers=headers)
        expect(f"status for {headers}", response.status_code, 401)
        expect("challenge", response.headers.get("WWW-Authenticate"), 'Bearer realm="gate"')
        expect("body", response.body.decode().strip(), "Show a valid token.")
    expect("status for tornado", await refused_status(fill(url, area="garden")), 401)


@suite
async def the_token_is_taken_from_the_header_or_the_query(url):
    url = fill(url, area="garden")
    for address, headers in [(url, SHOWN), (url, {"Authorization": f"bearer {TOKEN}"}), (f"{url}?token={TOKEN}", {})]:
        async with dial(address, additional_headers=headers) as connection:
            expect("welcome", json.loads(await connection.recv())["welcome"], "garden")


@suite
async def the_handlers_header_is_in_the_101_answer(url):
    async with dial(fill(url, area="garden"), additional_headers=SHOWN) as connection:
        expect("header", connection.response.headers.get("X-Gate"), "open")
    connection = await websocket_connect(HTTPRequest(fill(url, area="garden"), headers=SHOWN))
    expect("header for tornado", connection.headers.get("X-Gate"), "open")
    connection.close()


@suite
async def the_path_argument_arrives_decoded(url):
    for area in ["garden", "two words", "é/水", "100%", "a+b"]:
        async with dial(fill(url, area=area), additional_headers=SHOWN) as connection:
            expect("welcome", json.loads(await connection.recv())["welcome"], area)
            await connection.send("hello")
            expect("answer", await connection.recv(), f"{area}: hello")


@suite
async def the_best_subprotocol_of_those_offered_is_chosen(url):
    for offered, chosen in [
        (["v1.gate", "v2.gate"], "v2.gate"),
        (["badproto", "v1.gate"], "v1.gate"),
        (["badproto"], None),
        (None, None),
    ]:
        async with dial(fill(url, area="garden"), additional_headers=SHOWN, subprotocols=offered) as connection:
            expect(f"chosen of {offered}", connection.subprotocol, chosen)
            expect("handler's own view", json.loads(await connection.recv())["subprotocol"], chosen)
        connection = await websocket_connect(
            HTTPRequest(fill(url, area="garden"), headers=SHOWN), subprotocols=offered
        )
        expect(f"chosen of {offered} for tornado", connection.selected_subprotocol, chosen)
        connection.close()


@suite
async def its_domain_and_subdomains_may_connect_and_others_not(url):
    url = fill(url, area="garden")
    for origin in [f"https://{DOMAIN}", f"https://a.b.{DOMAIN}", http_address(url, "/").rstrip("/")]:
        async with dial(url, additional_headers=SHOWN, origin=origin) as connection:
            expect(f"welcome from {origin}", json.loads(await connection.recv())["welcome"], "garden")
    for origin in [f"https://evil-{DOMAIN}", f"https://{DOMAIN}.evil.net", "null"]:
        response = await refusal(url, additional_headers=SHOWN, origin=origin)
        expect(f"status for {origin}", response.status_code, 403)


@suite
async def the_token_is_asked_for_before_the_origin_is_checked(url):
    response = await refusal(fill(url, area="garden"), origin="https://evil.net")
    expect("status", response.status_code, 401)

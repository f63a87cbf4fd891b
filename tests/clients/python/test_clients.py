"""Talks to Waterspout with Python's `websockets` and with Tornado's own client.

    python test_clients.py [--echo ws://HOST:PORT/websocket] [--gate ws://HOST:PORT/gate/{area}] [--chat ws://HOST:PORT/chat/{room}]

Each address turns on the checks of the handler behind it: the embedded echo, the example guests gatekeeper and chat. One
line for each check, `ok NAME` or `not ok NAME: why`; exit code 1 if one failed.
"""

import argparse
import asyncio
import sys

import tornado
import websockets

import chat
import echo_tornado
import echo_websockets
import gate

SUITES = {
    "echo": [echo_websockets.suite, echo_tornado.suite],
    "gate": [gate.suite],
    "chat": [chat.suite],
}


async def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for handler in SUITES:
        parser.add_argument(f"--{handler}", metavar="URL")
    urls = {handler: url for handler, url in vars(parser.parse_args()).items() if url is not None}
    if not urls:
        parser.error("no address: nothing to check")
    print(f"# Python {sys.version.split()[0]}, websockets {websockets.__version__}, tornado {tornado.version}")
    passed = failed = 0
    for handler, url in urls.items():
        for suite in SUITES[handler]:
            more_passed, more_failed = await suite.run(url)
            passed += more_passed
            failed += more_failed
    print(f"{passed} passed, {failed} failed")
    return 0 if failed == 0 else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))

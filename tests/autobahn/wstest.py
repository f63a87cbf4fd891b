# Autobahn's `wstest`, on loopback only and without OpenSSL. Run by `cargo xtask autobahn`, with Python 2.7.
import sys
import types

import twisted.internet

# Imported by the suite, used only for wss: an empty one stands in, which saves OpenSSL's bindings and what they are made of.
ssl = types.ModuleType("twisted.internet.ssl")
twisted.internet.ssl = sys.modules[ssl.__name__] = ssl

from autobahntestsuite import wstest
from twisted.internet import reactor

listen_on = reactor.listenTCP


# The suite listens on every address of the machine, and has no option for it.
def listen_on_loopback(port, factory, backlog=50, interface=""):
    listening = listen_on(port, factory, backlog, "127.0.0.1")
    print "accepting connections"
    return listening


reactor.listenTCP = listen_on_loopback
wstest.run()

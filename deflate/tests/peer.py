"""A WebSocket peer over stdin and stdout, after the handshake: every message comes back, recompressed by zlib.

It knows nothing of the crate that it tests. A frame that is not as RFC 6455 and RFC 7692 want it ends it with a traceback. It takes
the agreement at its word: what it inflates must not refer to anything outside of a window of --receive-bits, nor, with
--receive-resets, to another message. What it sends is as odd as the RFCs allow: see `Sender`.
"""

import argparse
import collections
import random
import sys
import zlib

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
TAIL = b"\x00\x00\xff\xff"
# zlib lets a distance exceed the window as long as it stays within what one call puts out: so that is little.
STEP = 128

Frame = collections.namedtuple("Frame", "final rsv1 opcode payload")


def masked(payload, key):
    repeated = key * (len(payload) // 4) + key[: len(payload) % 4]
    whole = int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")
    return whole.to_bytes(len(payload), "big")


def take(count):
    taken = sys.stdin.buffer.read(count)
    if len(taken) < count:
        raise EOFError("the connection ended without a closing handshake")
    return taken


def read_frame(role):
    first, second = take(2)
    assert first & 0x30 == 0, "RSV2 or RSV3"
    assert bool(second & 0x80) == (role == "server"), "masked by the wrong side"
    length = second & 0x7F
    if length == 126:
        length = int.from_bytes(take(2), "big")
        assert length > 125, "a length in more bytes than it needs"
    elif length == 127:
        length = int.from_bytes(take(8), "big")
        assert length > 0xFFFF, "a length in more bytes than it needs"
    key = take(4) if second & 0x80 else bytes(4)
    return Frame(bool(first & 0x80), bool(first & 0x40), first & 0xF, masked(take(length), key))


class Receiver:
    """Inflates messages."""

    def __init__(self, bits, resets):
        self.bits = bits
        self.resets = resets
        self.inflate = zlib.decompressobj(-bits)

    def message(self, compressed):
        if self.resets:
            self.inflate = zlib.decompressobj(-self.bits)
        inflated = b"".join(self.pieces(compressed + TAIL))
        # Where a block ends another may begin; anywhere else this is corrupt, or more of the message.
        assert self.inflate.decompress(b"\x00" + TAIL) == b"", "the message does not end with a block"
        assert not self.inflate.eof, "a final block"
        return inflated

    def pieces(self, compressed):
        for start in range(0, len(compressed), STEP):
            rest = compressed[start : start + STEP]
            full = True
            while rest or full:
                piece = self.inflate.decompress(rest, STEP)
                yield piece
                rest = self.inflate.unconsumed_tail
                full = len(piece) == STEP


class Sender:
    """Sends messages compressed or not, in blocks of every kind, in fragments cut anywhere, with pings in between."""

    def __init__(self, role, bits, resets, mem_level, chance):
        self.role = role
        self.bits = bits
        self.resets = resets
        self.mem_level = mem_level
        self.chance = chance
        self.deflate = None
        # Sent, and perhaps not answered.
        self.pings = set()

    def frame(self, final, rsv1, opcode, payload):
        head = bytearray([final << 7 | rsv1 << 6 | opcode])
        mask_bit = 0x80 if self.role == "client" else 0
        if len(payload) <= 125:
            head.append(mask_bit | len(payload))
        elif len(payload) <= 0xFFFF:
            head.append(mask_bit | 126)
            head += len(payload).to_bytes(2, "big")
        else:
            head.append(mask_bit | 127)
            head += len(payload).to_bytes(8, "big")
        if self.role == "client":
            key = self.chance.choice([self.chance.randbytes(4), bytes(4)])
            head += key
            payload = masked(payload, key)
        sys.stdout.buffer.write(head + payload)

    def message(self, opcode, plain):
        compressed = self.chance.random() < 0.85
        payload = self.compressed(plain) if compressed else plain
        fragments = self.cut(payload, self.chance.choice([1, 1, 2, 3, 8]))
        for index, fragment in enumerate(fragments):
            if index > 0 and self.chance.random() < 0.3:
                self.ping()
            self.frame(
                final=index == len(fragments) - 1,
                rsv1=compressed and index == 0,
                opcode=opcode if index == 0 else CONTINUATION,
                payload=fragment,
            )
        sys.stdout.buffer.flush()

    def ping(self):
        payload = self.chance.randbytes(self.chance.choice([0, 1, 125]))
        self.pings.add(payload)
        self.frame(True, False, PING, payload)

    def cut(self, whole, count):
        """`count` parts, some of them empty."""
        cuts = sorted(self.chance.choice([0, 1, len(whole), self.chance.randint(0, len(whole))]) for _ in range(count - 1))
        cuts = [min(cut, len(whole)) for cut in cuts]
        return [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)])]

    def compressed(self, plain):
        if self.resets or self.deflate is None:
            self.deflate = self.compressor()
        parts = self.cut(plain, self.chance.choice([1, 1, 1, 3]))
        deflated = b""
        for part in parts[:-1]:
            deflated += self.deflate.compress(part)
            deflated += self.deflate.flush(self.chance.choice([zlib.Z_NO_FLUSH, zlib.Z_BLOCK, zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH]))
        deflated += self.deflate.compress(parts[-1])
        if self.chance.random() < 0.2:
            # The last block of a stream, and an octet for the next (RFC 7692 section 7.2.3.4).
            deflated += self.deflate.flush(zlib.Z_FINISH) + b"\x00"
            self.deflate = None
            return deflated
        deflated += self.deflate.flush(zlib.Z_SYNC_FLUSH)
        if not deflated.endswith(TAIL):
            # It was flushed already, and there was nothing more.
            deflated += b"\x00" + TAIL
        return deflated[: -len(TAIL)]

    def compressor(self):
        level = self.chance.choice([0, 1, 6, 9])
        strategy = self.chance.choice([zlib.Z_DEFAULT_STRATEGY, zlib.Z_FIXED, zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE])
        return zlib.compressobj(level, zlib.DEFLATED, -self.bits, self.mem_level, strategy)


def echo(role, receiver, sender):
    """Until the closing handshake."""
    opcode, compressed, payload = None, False, b""
    while True:
        frame = read_frame(role)
        if frame.opcode >= CLOSE:
            assert frame.final and not frame.rsv1 and len(frame.payload) <= 125, "a control frame against the rules"
        if frame.opcode == CLOSE:
            sender.frame(True, False, CLOSE, frame.payload)
            sys.stdout.buffer.flush()
            return
        if frame.opcode == PONG:
            assert frame.payload in sender.pings, "a pong for no ping"
            continue
        if opcode is None:
            assert frame.opcode in (TEXT, BINARY), "a message begins with its kind"
            opcode, compressed, payload = frame.opcode, frame.rsv1, b""
        else:
            assert frame.opcode == CONTINUATION, "a message within a message"
            assert not frame.rsv1, "RSV1 on a continuation"
        payload += frame.payload
        if frame.final:
            plain = receiver.message(payload) if compressed else payload
            if opcode == TEXT:
                plain.decode()
            sender.message(opcode, plain)
            opcode = None


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--role", choices=["client", "server"], required=True, help="ours")
    parser.add_argument("--send-bits", type=int, required=True)
    parser.add_argument("--send-resets", action="store_true")
    parser.add_argument("--receive-bits", type=int, required=True)
    parser.add_argument("--receive-resets", action="store_true")
    parser.add_argument("--mem-level", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    receiver = Receiver(options.receive_bits, options.receive_resets)
    sender = Sender(options.role, options.send_bits, options.send_resets, options.mem_level, chance)
    echo(options.role, receiver, sender)


if __name__ == "__main__":
    main()

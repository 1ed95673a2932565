"""A node that turned against its cluster, after the key exchange: it has the host's key and certificate, lets everybody
in, and talks without end. Takes its orders as JSON, a line each, on standard input; answers a line each."""

import asyncio
import itertools
import json
import socket
import sys

import asyncssh
from asyncssh.packet import Boolean, String, UInt32

# Far more than anybody may keep of it, in bytes or in messages.
ENDLESS, MANY = 96 << 20, 60_000
# More than is worth having ready.
READY = 256 << 10
LONG = "x\x07" * 15_000

orders = {"talk": "nothing"}
said = 0


def packets(talk, channel):
    """What is said over and over: pairs of message number and content."""
    number = 0
    while True:
        number += 1
        match talk:
            case "banners":
                yield 53, [String(LONG), String("")]
            case "debug":
                yield 4, [Boolean(True), String(LONG), String("")]
            case "global requests":
                yield 80, [String("keepalive@openssh.com"), Boolean(True), String(LONG)]
            case "host keys":
                yield 80, [String("hostkeys-00@openssh.com"), Boolean(False), String(LONG)]
            case "forwarded channels":
                address = [String("localhost"), UInt32(1), String("localhost"), UInt32(2)]
                yield 90, [String("forwarded-tcpip"), UInt32(number), UInt32(1 << 21), UInt32(1 << 15), *address]
            case "agent channels":
                yield 90, [String("auth-agent@openssh.com"), UInt32(number), UInt32(1 << 21), UInt32(1 << 15)]
            case "session channels":
                yield 90, [String("session"), UInt32(number), UInt32(1 << 21), UInt32(1 << 15)]
            case "exit messages":
                signal = [String("TERM"), Boolean(False), String(LONG), String("")]
                yield 98, [UInt32(channel), String("exit-signal"), Boolean(False), *signal]
            case "unknown requests":
                yield 98, [UInt32(channel), String("unknown@example.com"), Boolean(True), String(LONG)]
            case "output beyond the window":
                yield 94, [UInt32(channel), String(b"x" * 30_000)]
            case "errors beyond the window":
                yield 95, [UInt32(channel), UInt32(1), String(b"x" * 30_000)]
            case "window":
                yield 93, [UInt32(channel), UInt32(1)]
            case "another channel's output":
                yield 94, [UInt32(channel + number), String(b"x" * 30_000)]


async def talk_on(connection, talk, channel=0):
    global said
    # It listens to nothing from here on.
    connection.data_received = lambda *_: None
    transport = connection._transport
    for kind, content in itertools.islice(packets(talk, channel), MANY):
        connection.send_packet(kind, *content)
        said += sum(map(len, content)) + 1
        if said > ENDLESS or transport.is_closing():
            break
        while transport.get_write_buffer_size() > READY and not transport.is_closing():
            await asyncio.sleep(0.001)
    connection.abort()


class Hostile(asyncssh.SSHServer):
    def connection_made(self, connection):
        self.connection = connection

    async def begin_auth(self, _):
        if orders["talk"] == "banners":
            await talk_on(self.connection, "banners")
        # Nobody has to prove anything.
        return False


async def serve(process):
    channel = process.channel
    await talk_on(channel.get_connection(), orders["talk"], channel._send_chan)


async def main():
    global said
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    server = None
    while line := await lines.readline():
        orders.update(json.loads(line))
        if server is None:
            identity = open(orders["identity"]).read().splitlines()
            certificate = next(line for line in identity if "-cert-v01@openssh.com " in line)
            server = await asyncssh.listen(
                sock=listener,
                server_factory=Hostile,
                server_host_keys=[asyncssh.import_private_key(open(orders["key"]).read())],
                server_host_certs=[asyncssh.import_certificate(certificate)],
                process_factory=serve,
                encoding=None,
            )
        print(said, flush=True)
        said = 0


asyncio.run(main())

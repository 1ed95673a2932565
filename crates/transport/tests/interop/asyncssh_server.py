"""asyncssh as a server for one connection. Takes its task as JSON in its argument; prints its port, and in the end how many
key exchanges there were."""

import asyncio
import json
import logging
import sys

import asyncssh


class Exchanges(logging.Handler):
    """Counts key exchanges, of which only asyncssh's log tells."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def emit(self, record):
        self.count += "Completed key exchange" in record.getMessage()


class Server(asyncssh.SSHServer):
    """Lets every connection through that is forwarded, and says when the connection is over."""

    def __init__(self, over):
        self.over = over

    def connection_lost(self, error):
        self.over.set_result(error)

    def connection_requested(self, host, port, origin_host, origin_port):
        return True


async def pump(reader, writer, end):
    while piece := await reader.read(1 << 16):
        writer.write(piece)
        await writer.drain()
    end()


async def run(process):
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_shell(process.command, stdin=pipe, stdout=pipe, stderr=pipe)
    feeding = asyncio.create_task(pump(process.stdin, child.stdin, child.stdin.close))
    await asyncio.gather(
        pump(child.stdout, process.stdout, lambda: None), pump(child.stderr, process.stderr, lambda: None)
    )
    feeding.cancel()
    process.exit(await child.wait())


async def main(task):
    exchanges = Exchanges()
    logging.getLogger("asyncssh").addHandler(exchanges)
    logging.getLogger("asyncssh").setLevel(logging.DEBUG)
    over = asyncio.get_running_loop().create_future()
    listener = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=lambda: Server(over),
        server_host_keys=[(task["host_key"], task["host_certificate"])],
        authorized_client_keys=asyncssh.import_authorized_keys("cert-authority " + task["user_authority"]),
        process_factory=run,
        encoding=None,
        kex_algs=[task["key_exchange"]],
        encryption_algs=[task["cipher"]],
        rekey_bytes=task["rekey"],
        config=[],
    )
    print(json.dumps({"port": listener.get_port()}), flush=True)
    await over
    print(json.dumps({"exchanges": exchanges.count}), flush=True)


asyncio.run(main(json.loads(sys.argv[1])))

"""asyncssh as a client. Takes its task as JSON in its argument, prints as JSON what it saw."""

import asyncio
import hashlib
import json
import logging
import os
import sys

import asyncssh


class Exchanges(logging.Handler):
    """Counts key exchanges, of which only asyncssh's log tells."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def emit(self, record):
        self.count += "Completed key exchange" in record.getMessage()


def digest(data):
    return hashlib.sha256(data).hexdigest()


async def there_and_back(reader, writer, data):
    """Sends everything and takes in what comes meanwhile, or both sides would wait for each other."""
    back = asyncio.create_task(reader.read())
    for at in range(0, len(data), 1 << 16):
        writer.write(data[at : at + (1 << 16)])
        await writer.drain()
    writer.write_eof()
    return await back


async def work(task, exchanges):
    async with asyncssh.connect(
        "127.0.0.1",
        task["port"],
        username="alice",
        client_keys=[(task["key"], task["certificate"])],
        known_hosts=task["known_hosts"],
        kex_algs=[task["key_exchange"]],
        encryption_algs=[task["cipher"]],
        rekey_bytes=task["rekey"],
        agent_path=None,
        config=[],
    ) as connection:
        data = os.urandom(task["bytes"])
        process = await connection.create_process("cat", encoding=None)
        back = await there_and_back(process.stdout, process.stdin, data)
        process.close()
        both = await connection.run("both")
        failed = await connection.run("exit 7")
        forward = await connection.open_connection("127.0.0.1", task["echo"], encoding=None)
        forwarded = await there_and_back(*forward, data)
        return {
            "sent": digest(data),
            "back": digest(back),
            "forwarded": digest(forwarded),
            "out": both.stdout,
            "err": both.stderr,
            "status": failed.exit_status,
            "exchanges": exchanges.count,
        }


async def main(task):
    exchanges = Exchanges()
    logging.getLogger("asyncssh").addHandler(exchanges)
    logging.getLogger("asyncssh").setLevel(logging.DEBUG)
    try:
        saw = await work(task, exchanges)
    except asyncssh.Error as error:
        saw = {"refused": type(error).__name__}
    print(json.dumps(saw))


asyncio.run(main(json.loads(sys.argv[1])))

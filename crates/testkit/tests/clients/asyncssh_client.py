"""asyncssh with OpenSSH's configuration. Takes its task as JSON in its argument, prints as JSON what it saw."""

import asyncio
import json
import os
import sys

import asyncssh


async def work(task):
    async with asyncssh.connect(
        task["host"],
        username=task["login"],
        config=[task["ssh_config"]],
        known_hosts=task["known_hosts"],
        agent_path=None,
    ) as connection:
        ran = await connection.run("echo out; echo err >&2; exit 7")
        command = [ran.stdout, ran.stderr, ran.exit_status]

        path = os.path.join(task["directory"], "by-asyncssh")
        async with connection.start_sftp_client() as sftp:
            async with sftp.open(path, "w") as file:
                await file.write("carried")
            async with sftp.open(path) as file:
                carried = await file.read()

        async def answer(reader, writer):
            writer.write(await reader.read())
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        forward = await connection.forward_local_port("127.0.0.1", 0, "127.0.0.1", port)
        reader, writer = await asyncio.open_connection("127.0.0.1", forward.get_port())
        writer.write(b"through")
        writer.write_eof()
        through = await reader.read()
        server.close()
        return {"command": command, "sftp": carried, "forward": through.decode()}


try:
    saw = asyncio.run(work(json.loads(sys.argv[1])))
except (asyncssh.Error, OSError) as error:
    saw = {"refused": type(error).__name__}
print(json.dumps(saw))

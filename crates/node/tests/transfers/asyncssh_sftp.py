"""asyncssh's SFTP client. Takes its task as JSON in its argument, prints as JSON what it saw."""

import asyncio
import json
import os
import sys

import asyncssh


async def work(task):
    here, there = task["here"].rstrip("/"), task["there"].rstrip("/")
    saw = {}
    async with (
        asyncssh.connect(
            "127.0.0.1",
            task["port"],
            username=task["login"],
            client_keys=[(task["key"], task["key"] + "-cert.pub")],
            # The names in the host's certificate are its own, not this address.
            host_key_alias="web-1",
            known_hosts=task["known_hosts"],
            agent_path=None,
            config=[],
        ) as connection,
        connection.start_sftp_client() as sftp,
    ):
        await sftp.put(f"{here}/large", f"{there}/large")
        await sftp.get(f"{there}/large", f"{here}/back")
        await sftp.put(f"{here}/tree", f"{there}/tree", preserve=True, recurse=True)
        async with sftp.open(f"{there}/f", "w") as file:
            await file.write("0123456789")
            await file.write("xx", 2)
            await file.fsync()
        await sftp.rename(f"{there}/f", f"{there}/g")
        await sftp.put(f"{here}/tree/d0/file 5", f"{there}/h")
        await sftp.posix_rename(f"{there}/g", f"{there}/h")
        # On the other side, by `copy-data`.
        await sftp.remote_copy(f"{there}/h", f"{there}/i")
        async with sftp.open(f"{there}/i") as file:
            saw["renamed"] = await file.read() == "01xx456789"
        await sftp.truncate(f"{there}/h", 4)
        saw["truncated"] = await sftp.getsize(f"{there}/h") == 4
        await sftp.utime(f"{there}/h", (5, 6))
        await sftp.chmod(f"{there}/h", 0o600)
        stat = await sftp.stat(f"{there}/h")
        saw["times"] = (stat.atime, stat.mtime, stat.permissions & 0o777) == (5, 6, 0o600)
        # asyncssh has OpenSSH's order of a symbolic link's two paths only for servers that are called OpenSSH, so here it is
        # the other way round.
        await sftp.symlink(f"{there}/soft", "h")
        await sftp.link(f"{there}/h", f"{there}/hard")
        saw["link"] = await sftp.readlink(f"{there}/soft") == "h" and await sftp.islink(f"{there}/soft")
        try:
            await sftp.open(f"{there}/nothing")
        except asyncssh.SFTPNoSuchFile:
            saw["refused"] = True
        names = set(await sftp.listdir(f"{there}/tree/d0")) - {".", ".."}
        space = await sftp.statvfs(there)
        saw["listed"] = names == set(os.listdir(f"{here}/tree/d0")) and space.blocks > 0
    return saw


print(json.dumps(asyncio.run(work(json.loads(sys.argv[1])))))

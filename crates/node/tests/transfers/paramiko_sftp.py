"""paramiko's SFTP client. Takes its task as JSON in its argument, prints as JSON what it saw."""

import json
import os
import sys

import paramiko
from cryptography.hazmat.primitives.serialization import load_pem_private_key


def work(task):
    here, there = task["here"].rstrip("/"), task["there"].rstrip("/")
    transport = paramiko.Transport(("127.0.0.1", task["port"]))
    # paramiko itself does not read this form of a key.
    with open(task["key"], "rb") as file:
        private = load_pem_private_key(file.read(), password=None)
    key = paramiko.ECDSAKey(vals=(private, private.public_key()))
    key.load_certificate(task["key"] + "-cert.pub")
    transport.connect(username=task["login"], pkey=key)
    sftp = paramiko.SFTPClient.from_transport(transport)
    # Its `get` asks for the whole file before it reads the first answer.
    sftp.put(f"{here}/large", f"{there}/large")
    sftp.get(f"{there}/large", f"{here}/back")
    for directory, _, files in os.walk(f"{here}/tree"):
        far = there + directory[len(here) :]
        sftp.mkdir(far)
        for name in files:
            sftp.put(f"{directory}/{name}", f"{far}/{name}")
    saw = {}
    with sftp.open(f"{there}/f", "w") as file:
        file.write("0123456789")
        file.flush()
        file.seek(2)
        file.write("xx")
    sftp.rename(f"{there}/f", f"{there}/g")
    sftp.put(f"{here}/tree/d0/file 5", f"{there}/h")
    sftp.posix_rename(f"{there}/g", f"{there}/h")
    with sftp.open(f"{there}/h") as file:
        saw["renamed"] = file.read() == b"01xx456789"
    sftp.truncate(f"{there}/h", 4)
    saw["truncated"] = sftp.stat(f"{there}/h").st_size == 4
    sftp.utime(f"{there}/h", (5, 6))
    sftp.chmod(f"{there}/h", 0o600)
    stat = sftp.stat(f"{there}/h")
    saw["times"] = (stat.st_atime, stat.st_mtime, stat.st_mode & 0o777) == (5, 6, 0o600)
    sftp.symlink("h", f"{there}/soft")
    saw["link"] = sftp.readlink(f"{there}/soft") == "h" and sftp.lstat(f"{there}/soft").st_size == 1
    try:
        sftp.open(f"{there}/nothing")
    except FileNotFoundError:
        saw["refused"] = True
    names = {entry.filename for entry in sftp.listdir_iter(f"{there}/tree/d0", read_aheads=50)}
    saw["listed"] = names == set(os.listdir(f"{here}/tree/d0")) and sftp.normalize(".").startswith("/")
    transport.close()
    return saw


print(json.dumps(work(json.loads(sys.argv[1]))))

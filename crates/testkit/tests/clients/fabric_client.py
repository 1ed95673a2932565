"""Fabric with OpenSSH's configuration. Takes its task as JSON in its argument, prints as JSON what it saw."""

import io
import json
import os
import socket
import sys
import threading
import time

import fabric
import paramiko


def through(connection):
    """Sends a word to a server here over a forwarded port, and says what came back."""
    listener = socket.create_server(("127.0.0.1", 0))
    # Fabric takes no port 0; at an address that nobody else uses here, a free port stays free.
    here = "127.0.0.77"
    with socket.create_server((here, 0)) as free:
        local = free.getsockname()[1]

    def answer():
        accepted, _ = listener.accept()
        accepted.sendall(accepted.recv(64))
        accepted.close()

    # As a daemon: what goes wrong is to be said, not waited for.
    server = threading.Thread(target=answer, daemon=True)
    server.start()
    remote = listener.getsockname()[1]
    with connection.forward_local(local, remote_port=remote, remote_host="127.0.0.1", local_host=here):
        with connected(here, local) as stream:
            stream.sendall(b"through")
            back = stream.recv(64)
    server.join()
    return back.decode()


def connected(host, port):
    """A connection to what Fabric's thread listens at, as soon as it does."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return socket.create_connection((host, port))
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def work(task):
    config = fabric.Config(runtime_ssh_path=task["ssh_config"])
    with fabric.Connection(task["host"], user=task["login"], config=config) as connection:
        # Fabric takes any host's key unless it is told not to.
        connection.client.load_host_keys(task["known_hosts"])
        connection.client.set_missing_host_key_policy(paramiko.RejectPolicy())
        ran = connection.run("echo out; echo err >&2; exit 7", hide=True, warn=True, in_stream=False)
        path = os.path.join(task["directory"], "by-fabric")
        connection.put(io.StringIO("carried"), path)
        back = io.BytesIO()
        connection.get(path, back)
        return {
            "command": [ran.stdout, ran.stderr, ran.exited],
            "sftp": back.getvalue().decode(),
            "forward": through(connection),
        }


try:
    saw = work(json.loads(sys.argv[1]))
except (paramiko.SSHException, paramiko.hostkeys.InvalidHostKey, OSError) as error:
    saw = {"refused": type(error).__name__}
print(json.dumps(saw))

"""paramiko with OpenSSH's configuration. Takes its task as JSON in its argument, prints as JSON what it saw."""

import json
import os
import socket
import sys
import threading

import paramiko


def connect(task):
    config = paramiko.SSHConfig.from_path(task["ssh_config"]).lookup(task["host"])
    client = paramiko.SSHClient()
    client.load_host_keys(task["known_hosts"])
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    command = config["proxycommand"].replace("%r", task["login"]).replace("'", "")
    client.connect(
        task["host"],
        port=int(config["port"]),
        username=task["login"],
        # It finds the certificate beside the key by itself.
        key_filename=config["identityfile"],
        sock=paramiko.ProxyCommand(command),
        allow_agent=False,
        look_for_keys=False,
    )
    return client


def through(transport):
    """Sends a word to a server here over a forwarded connection, and says what came back."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer():
        connection, _ = listener.accept()
        connection.sendall(connection.recv(64))
        connection.close()

    # As a daemon: what goes wrong is to be said, not waited for.
    server = threading.Thread(target=answer, daemon=True)
    server.start()
    channel = transport.open_channel("direct-tcpip", listener.getsockname(), ("127.0.0.1", 0))
    channel.sendall(b"through")
    back = channel.recv(64)
    server.join()
    return back.decode()


def work(task):
    client = connect(task)
    _, out, err = client.exec_command("echo out; echo err >&2; exit 7")
    command = [out.read().decode(), err.read().decode(), out.channel.recv_exit_status()]
    path = os.path.join(task["directory"], "by-paramiko")
    with client.open_sftp() as sftp:
        with sftp.open(path, "w") as file:
            file.write("carried")
        with sftp.open(path) as file:
            carried = file.read().decode()
    saw = {"command": command, "sftp": carried, "forward": through(client.get_transport())}
    client.close()
    return saw


try:
    saw = work(json.loads(sys.argv[1]))
except (paramiko.SSHException, paramiko.hostkeys.InvalidHostKey, OSError) as error:
    saw = {"refused": type(error).__name__}
print(json.dumps(saw))

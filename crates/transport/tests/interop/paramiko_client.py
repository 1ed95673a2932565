"""paramiko as a client. Takes its task as JSON in its argument, prints as JSON what it saw."""

import hashlib
import json
import os
import sys
import threading

import paramiko


def digest(data):
    return hashlib.sha256(data).hexdigest()


def read_all(channel):
    pieces = []
    while piece := channel.recv(1 << 16):
        pieces.append(piece)
    return b"".join(pieces)


def there_and_back(channel, data):
    """Sends everything and takes in what comes meanwhile, or both sides would wait for each other."""

    def send():
        channel.sendall(data)
        channel.shutdown_write()

    sender = threading.Thread(target=send)
    sender.start()
    back = read_all(channel)
    sender.join()
    return back


def run(transport, command):
    channel = transport.open_session()
    channel.exec_command(command)
    out = read_all(channel)
    err = b""
    while piece := channel.recv_stderr(1 << 16):
        err += piece
    return out.decode(), err.decode(), channel.recv_exit_status()


def work(task):
    def transport_of(sock, **rest):
        transport = paramiko.Transport(sock, **rest)
        offered = transport.get_security_options()
        offered.kex = [task["key_exchange"]]
        offered.ciphers = [task["cipher"]]
        return transport

    client = paramiko.SSHClient()
    client.load_host_keys(task["known_hosts"])
    client.connect(
        "127.0.0.1",
        task["port"],
        username="alice",
        # Finds the certificate beside it.
        pkey=paramiko.PKey.from_path(task["key"]),
        allow_agent=False,
        look_for_keys=False,
        transport_factory=transport_of,
    )
    transport = client.get_transport()
    # Before there is anything after which the server would begin too: paramiko begins another exchange in the middle of one.
    transport.renegotiate_keys()
    data = os.urandom(task["bytes"])
    channel = transport.open_session()
    channel.exec_command("cat")
    back = there_and_back(channel, data)
    out, err, _ = run(transport, "both")
    _, _, status = run(transport, "exit 7")
    forward = transport.open_channel("direct-tcpip", ("127.0.0.1", task["echo"]), ("127.0.0.1", 1))
    forwarded = there_and_back(forward, data)
    saw = {
        "sent": digest(data),
        "back": digest(back),
        "forwarded": digest(forwarded),
        "out": out,
        "err": err,
        "status": status,
        # The hash of the last exchange is the session's name after the first alone.
        "exchanges": 1 + (transport.H != transport.session_id),
    }
    client.close()
    return saw


def main(task):
    try:
        saw = work(task)
    except paramiko.SSHException as error:
        saw = {"refused": type(error).__name__}
    print(json.dumps(saw))


main(json.loads(sys.argv[1]))

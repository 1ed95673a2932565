"""A workload that asks for its identity with the library that SPIFFE's users have, as whichever user it is told to be."""

import json
import os
import sys
import threading

import grpc
from spiffe import JwtSvid, WorkloadApiClient

task = json.loads(sys.argv[1])
if "gid" in task:
    os.setgroups([])
    os.setgid(task["gid"])
if "uid" in task:
    os.setuid(task["uid"])
socket = "unix://" + task["socket"]


def refused(call):
    try:
        call()
    except Exception as error:
        return str(error)
    return "not refused"


def bare():
    """A call without the metadata that every workload shows."""
    with grpc.insecure_channel(socket) as channel:
        call = channel.unary_stream("/SpiffeWorkloadAPI/FetchX509SVID")
        try:
            next(call(b"", timeout=20))
        except grpc.RpcError as error:
            return error.code().name
    return "not refused"


def fetch(client):
    svids = client.fetch_x509_svids()
    domain = svids[0].spiffe_id.trust_domain
    bundle = client.fetch_x509_bundles().get_bundle_for_trust_domain(domain)
    keys = client.fetch_jwt_bundles().get_bundle_for_trust_domain(domain)
    jwts = client.fetch_jwt_svids({"vault"})
    again = client.fetch_jwt_svids({"vault"})
    # Verified by the library here, and by the agent.
    local = JwtSvid.parse_and_validate(jwts[0].token, keys, {"vault"})
    remote = client.validate_jwt_svid(jwts[0].token, "vault")
    leaf = svids[0].leaf
    leaf.verify_directly_issued_by(list(bundle.x509_authorities)[0])
    return {
        "ids": sorted(str(svid.spiffe_id) for svid in svids),
        "jwts": sorted(str(svid.spiffe_id) for svid in jwts),
        "same": [a.token == b.token for a, b in zip(jwts, again)],
        "local": str(local.spiffe_id),
        "remote": str(remote.spiffe_id),
        "other_audience": refused(lambda: client.validate_jwt_svid(jwts[0].token, "db")),
        "changed": refused(lambda: client.validate_jwt_svid(jwts[0].token[:-4] + "AAAA", "vault")),
        "own_key": leaf.public_key() == svids[0].private_key.public_key(),
        "seconds": int(local.expiry) - int(__import__("time").time()),
    }


def follow(client):
    serials, enough = [], threading.Event()

    def changed(context):
        serials.append(context.default_svid.leaf.serial_number)
        if len(set(serials)) > 2:
            enough.set()

    handler = client.stream_x509_contexts(changed, lambda error: None)
    told = enough.wait(60)
    handler.cancel()
    return {"pushed": told}


def bundles(client):
    """Says what it is given each time, until its standard input ends."""

    def changed(context):
        svid = context.default_svid
        bundle = context.x509_bundle_set.get_bundle_for_trust_domain(svid.spiffe_id.trust_domain)
        told = {"serial": str(svid.leaf.serial_number), "authorities": len(bundle.x509_authorities)}
        print(json.dumps(told), flush=True)

    handler = client.stream_x509_contexts(changed, lambda error: print(json.dumps(str(error)), flush=True))
    sys.stdin.read()
    handler.cancel()


def flood(client):
    """Asks for ever new audiences from many threads until its standard input ends, and says when it was refused first."""
    ended, refused_once = threading.Event(), threading.Event()

    def ask(number):
        count = 0
        while not ended.is_set():
            count += 1
            try:
                client.fetch_jwt_svids({f"{number}-{count}"})
            except Exception as error:
                if "too many" in str(error) and not refused_once.is_set():
                    refused_once.set()
                    print(json.dumps("refused"), flush=True)

    threads = [threading.Thread(target=ask, args=[number]) for number in range(24)]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    ended.set()
    for thread in threads:
        thread.join()


def many(client):
    return [len(client.fetch_jwt_svids({f"audience-{number}"})) for number in range(30)]


if task["do"] == "bare":
    print(json.dumps(bare()))
else:
    with WorkloadApiClient(socket, default_timeout=20) as client:
        try:
            done = {"fetch": fetch, "follow": follow, "bundles": bundles, "flood": flood, "many": many}[task["do"]](client)
            if done is not None:
                print(json.dumps(done))
        except Exception as error:
            print(json.dumps({"error": f"{type(error).__name__}: {error}"}))

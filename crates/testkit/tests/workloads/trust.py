"""Whoever verifies the workloads of a cluster: fetches what its proxy says, and judges a token by it."""

import json
import ssl
import sys
import urllib.error
import urllib.request

from spiffe import JwtBundle, JwtSvid, TrustDomain

base, authorities, token = sys.argv[1:]
context = ssl.create_default_context(cafile=authorities)
context.check_hostname = False


def get(path):
    return urllib.request.urlopen(base + path, context=context).read()


try:
    found = json.loads(get("/workload-identity/.well-known/openid-configuration"))
except urllib.error.HTTPError as error:
    found = error.code
keys = JwtBundle.parse(TrustDomain("test.example.com"), get("/workload-identity/jwt-jwks.json"))
svid = JwtSvid.parse_and_validate(token, keys, {"b.example"})
print(
    json.dumps(
        {
            "bundle": json.loads(get("/webapi/spiffe/bundle.json")),
            "found": found,
            "sub": str(svid.spiffe_id),
            "iss": svid._claims.get("iss"),
        }
    )
)

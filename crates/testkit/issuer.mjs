// An issuer of ID tokens: oauth2-mock-server behind TLS, told what to do line by line. A test's claims go into its tokens;
// keys, signatures, discovery and key set are the library's.
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
import { readFileSync } from "node:fs";

const [modules, key, cert, prefix, name, template] = process.argv.slice(2);
const library = pathToFileURL(`${modules}/oauth2-mock-server/dist/index.mjs`);
const { HttpServer, OAuth2Issuer, OAuth2Service } = await import(library);

let issuer, service, url;
let asked = 0;
let reviewed = 0;
let held, release;
let vouched = {};
const machines = {};
let looked = 0;

async function renew(alg, kid) {
  issuer = new OAuth2Issuer();
  issuer.url = url;
  await issuer.keys.generate(alg, { kid });
  service = new OAuth2Service(issuer);
}

function mint({ claims = {}, header = {} }) {
  return issuer.buildToken({
    scopesOrTransform: (headers, payload) => {
      Object.assign(headers, header);
      Object.assign(payload, claims);
      for (const name of Object.keys(payload)) if (payload[name] === null) delete payload[name];
    },
  });
}

// What a runner of GitHub Actions offers to its jobs.
async function runner(request, response) {
  const audience = new URL(request.url, url).searchParams.get("audience");
  const allowed = request.headers.authorization === "Bearer runner-secret";
  response.writeHead(allowed ? 200 : 401, { "content-type": "application/json" });
  response.end(allowed ? JSON.stringify({ value: await mint({ claims: { ...vouched, aud: audience } }) }) : "{}");
}

// The API of a Kubernetes cluster whose service accounts' tokens this issuer signs: TokenReview of authentication.k8s.io/v1.
async function review(request, response) {
  const say = (status, body) => {
    response.writeHead(status, { "content-type": "application/json" });
    response.end(JSON.stringify(body));
  };
  if (request.headers.authorization !== "Bearer reviewer-secret") {
    return say(401, { kind: "Status", apiVersion: "v1", status: "Failure", reason: "Unauthorized", code: 401 });
  }
  reviewed += 1;
  let text = "";
  for await (const part of request) text += part;
  const { apiVersion, kind, spec } = JSON.parse(text);
  if (request.method !== "POST" || apiVersion !== "authentication.k8s.io/v1" || kind !== "TokenReview") return say(400, {});
  const { createLocalJWKSet, jwtVerify } = await import(pathToFileURL(`${modules}/jose/dist/webapi/index.js`));
  let status;
  try {
    const { payload } = await jwtVerify(spec.token, createLocalJWKSet({ keys: issuer.keys.toJSON() }), { audience: spec.audiences });
    const own = payload["kubernetes.io"];
    status = {
      authenticated: true,
      user: {
        username: payload.sub,
        groups: ["system:serviceaccounts", `system:serviceaccounts:${own.namespace}`, "system:authenticated"],
        extra: own.pod ? { "authentication.kubernetes.io/pod-name": [own.pod.name] } : {},
      },
      audiences: [].concat(payload.aud).filter((one) => spec.audiences.includes(one)),
    };
  } catch (error) {
    status = { user: {}, error: `[invalid bearer token, ${error.message}]` };
  }
  say(201, { kind, apiVersion, metadata: {}, spec, status });
}

// The Resource Manager of Azure: tells of a machine to who shows an access token that is good for it.
async function manage(request, response) {
  const say = (status, body) => {
    response.writeHead(status, { "content-type": "application/json" });
    response.end(JSON.stringify(body));
  };
  looked += 1;
  const { pathname, searchParams } = new URL(request.url, url);
  const machine = machines[pathname.toLowerCase()];
  const { createLocalJWKSet, jwtVerify } = await import(pathToFileURL(`${modules}/jose/dist/webapi/index.js`));
  try {
    const token = request.headers.authorization.replace("Bearer ", "");
    await jwtVerify(token, createLocalJWKSet({ keys: issuer.keys.toJSON() }), { audience: "https://management.azure.com/" });
  } catch (error) {
    return say(401, { error: { code: "InvalidAuthenticationToken", message: error.message } });
  }
  if (!searchParams.get("api-version")) return say(400, { error: { code: "MissingApiVersionParameter" } });
  if (!machine) return say(404, { error: { code: "ResourceNotFound" } });
  say(machine.status ?? 200, machine);
}

const server = new HttpServer(async (request, response) => {
  if (request.url.startsWith("/subscriptions/")) return manage(request, response);
  if (template && request.url === `${prefix}/.well-known/openid-configuration`) {
    asked += 1;
    response.writeHead(200, { "content-type": "application/json" });
    return response.end(JSON.stringify({ issuer: template, jwks_uri: `${url}/jwks` }));
  }
  if (request.url === "/apis/authentication.k8s.io/v1/tokenreviews") return review(request, response);
  if (request.url.startsWith("/runner")) return runner(request, response);
  asked += 1;
  await held;
  if (!request.url.startsWith(prefix)) return response.writeHead(404).end();
  request.url = request.url.slice(prefix.length) || "/";
  service.requestHandler(request, response);
}, { key: readFileSync(key), cert: readFileSync(cert) });

await server.start(0, "127.0.0.1");
const host = `localhost:${server.address().port}`;
url = `https://${name ?? host}${prefix}`;
await renew("RS256", "first");
console.log(JSON.stringify({ host }));

for await (const line of createInterface({ input: process.stdin })) {
  const { command, ...rest } = JSON.parse(line);
  let answer = null;
  if (command === "mint") answer = await mint(rest);
  if (command === "renew") await renew(rest.alg, rest.kid);
  if (command === "vouch") vouched = rest.claims;
  if (command === "asked") answer = asked;
  if (command === "reviewed") answer = reviewed;
  if (command === "machine") machines[rest.path.toLowerCase()] = rest.machine;
  if (command === "looked") answer = looked;
  if (command === "hold") held = new Promise((done) => (release = done));
  if (command === "release") held = release();
  if (command === "keys") answer = { keys: issuer.keys.toJSON() };
  console.log(JSON.stringify(answer));
}
process.exit(0);

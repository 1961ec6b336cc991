// The life of a webhook through the official `svix` package from npm: `node svix_life.mjs SERVER_URL TOKEN`.
// It is its own receiver. Prints what it saw as one line of JSON; an error ends it.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { Webhook } from "standardwebhooks";

const { Svix } = createRequire(import.meta.url)("svix");
const [serverUrl, token] = process.argv.slice(2);

const requests = [];
let waiting = null;
let status = 500;
const receiver = createServer((request, response) => {
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", () => {
    requests.push({ headers: request.headers, body: Buffer.concat(parts).toString() });
    response.writeHead(status).end("seen");
    waiting?.();
  });
});
await new Promise((listening) => receiver.listen(0, "127.0.0.1", listening));
const url = `http://127.0.0.1:${receiver.address().port}/hook`;

async function received(count) {
  while (requests.length < count) await new Promise((next) => (waiting = next));
  return requests[count - 1];
}
async function until(look) {
  for (;;) {
    const found = await look();
    if (found) return found;
    await new Promise((next) => setTimeout(next, 20));
  }
}

const svix = new Svix(token, { serverUrl });
const app = await svix.application.create({ name: "From npm", uid: "npm" });
assert.equal((await svix.application.getOrCreate({ name: "Again", uid: "npm" })).id, app.id);
await svix.eventType.create({
  name: "npm.created",
  description: "Made",
  schemas: { 1: { type: "object", required: ["order_id"], properties: { order_id: { type: "integer", example: 12345 } } } },
});
assert.equal((await svix.eventType.get("npm.created")).schemas["1"].type, "object");
const endpoint = await svix.endpoint.create("npm", { url, uid: "main", filterTypes: ["npm.created"] });
assert.deepEqual(endpoint.filterTypes, ["npm.created"]);

await assert.rejects(
  svix.message.create("npm", { eventType: "npm.created", payload: { wrong: 1 } }),
  (error) => error.code === 422 && error.body.detail.length === 1,
);
const sent = { eventType: "npm.created", eventId: "first", payload: { order_id: 12345 } };
const message = await svix.message.create("npm", sent);
await assert.rejects(svix.message.create("npm", sent), (error) => error.code === 409);
await received(2);
const failed = await until(async () => {
  const page = await svix.messageAttempt.listByMsg("npm", message.id);
  return page.data.length === 2 && page;
});
assert.deepEqual(failed.data.map((each) => each.status), [2, 2]);
assert.equal(failed.data[0].response, "seen");

const before = (await svix.endpoint.getSecret("npm", "main")).key;
await svix.endpoint.rotateSecret("npm", "main", {});
const secret = (await svix.endpoint.getSecret("npm", "main")).key;
assert.notEqual(secret, before);

status = 200;
const task = await svix.endpoint.recover("npm", "main", { since: new Date(Date.now() - 60_000) });
const recovered = await received(3);
for (const each of [before, secret]) new Webhook(each).verify(recovered.body, recovered.headers);
const stats = await until(async () => {
  const found = await svix.endpoint.getStats("npm", "main");
  return found.success === 1 && found;
});
await svix.messageAttempt.resend("npm", "first", "main");
await received(4);
const done = await until(async () => {
  const found = await svix.backgroundTask.get(task.id);
  return found.status === "finished" && found;
});
await svix.endpoint.sendExample("npm", "main", { eventType: "npm.created" });
await received(5);
await svix.message.expungeContent("npm", message.id);
assert.deepEqual((await svix.message.get("npm", "first")).payload, { expired: true });

const portal = await svix.authentication.appPortalAccess("npm", {});
const theirs = new Svix(portal.token, { serverUrl });
assert.equal((await theirs.endpoint.list("npm")).data[0].id, endpoint.id);
await assert.rejects(theirs.application.list(), (error) => error.code === 403);
await theirs.authentication.logout();
await assert.rejects(theirs.endpoint.list("npm"), (error) => error.code === 401);

receiver.close();
receiver.closeAllConnections();
console.log(JSON.stringify({ bodies: requests.map((each) => each.body), task: done.task, stats }));

// Calls the program with Node's http and http2 and with ws. Protocol as calls.py; the folder of
// node_modules is the first argument.
import http from "node:http";
import http2 from "node:http2";
import { createInterface } from "node:readline";
import { createRequire } from "node:module";

const { WebSocket, WebSocketServer } = createRequire(process.argv[2] + "/")("ws");
const READ = "/v1/parties/310000507/returns/7";
const SUBMIT = "/v1/parties/310000507/returns";
const SOCKET = "/v1/parties/310000507/socket";

const echo = new WebSocketServer({ host: "127.0.0.1", port: 0 });
echo.on("connection", (socket) => socket.on("message", (data, binary) => socket.send(data, { binary })));
await new Promise((listening) => echo.on("listening", listening));
console.log(JSON.stringify({ websocket: echo.address().port }));
const line = await new Promise((read) => createInterface(process.stdin).once("line", read));
const task = JSON.parse(line);
const good = { authorization: `Bearer ${task.good}` };
const refused = { authorization: `Bearer ${task.refused}` };
const [host, port] = task.address.split(":");

async function node_http() {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  const call = (method, path, headers, body) =>
    new Promise((done, fail) => {
      const seen = { continued: false };
      const request = http.request({ host, port, method, path, headers, agent }, (answer) => {
        answer.resume();
        answer.on("end", () => done({ ...seen, status: answer.statusCode }));
      });
      request.on("error", fail);
      if (headers.expect) {
        request.on("continue", () => ((seen.continued = true), request.end(body)));
        request.flushHeaders();
      } else {
        for (const part of body ?? []) request.write(part);
        request.end();
      }
    });
  const plain = [
    await call("GET", READ, good),
    await call("GET", READ, {}),
    await call("POST", SUBMIT, good, ["one ", "two"]),
    await call("POST", SUBMIT, { ...good, "content-length": 3 }, ["abc"]),
    await call("GET", READ, refused),
  ];
  const expecting = await call("POST", SUBMIT, { ...good, expect: "100-continue", "content-length": 4 }, "body");
  // Never told to go on, so its body is never sent.
  const turned_away = await call("POST", SUBMIT, { expect: "100-continue", "content-length": 4 }, "body");
  agent.destroy();
  return { statuses: plain.map(({ status }) => status), expecting, turned_away };
}

async function node_http2() {
  const session = http2.connect(`http://${task.address}`);
  const call = (headers, body, trailers) =>
    new Promise((done, fail) => {
      const stream = session.request(headers, { endStream: body === undefined, waitForTrailers: !!trailers });
      const seen = { status: 0, text: "" };
      if (trailers) stream.on("wantTrailers", () => stream.sendTrailers(trailers));
      stream.on("response", (answer) => (seen.status = answer[":status"]));
      stream.setEncoding("utf8").on("data", (text) => (seen.text += text));
      stream.on("end", () => done(seen)).on("error", fail);
      if (body !== undefined) stream.end(body);
    });
  const get = (headers, number) => call({ ":path": `/v1/parties/310000507/returns/${number}`, ...headers });
  const post = { ":method": "POST", ":path": SUBMIT, ...good };
  const many = await Promise.all(Array.from({ length: 60 }, (_, n) => get([good, refused, {}][n % 3], n)));
  const result = {
    statuses: [0, 1, 2].map((kind) => [...new Set(many.filter((_, n) => n % 3 === kind).map((a) => a.status))]),
    targets: many.every((a, n) => n % 3 !== 0 || JSON.parse(a.text).target === `/v1/parties/310000507/returns/${n}`),
    large: JSON.parse((await call(post, "x".repeat(1_000_000))).text).bytes,
    trailers: (await call(post, "body", { "x-checksum": "1", "portvakt-party": "310000701" })).status,
  };
  session.close();
  return result;
}

async function websocket() {
  const open = (path, headers) =>
    new Promise((done) => {
      const socket = new WebSocket(`ws://${task.address}${path}`, { headers });
      socket.on("open", () => done({ socket }));
      socket.on("unexpected-response", (request, answer) => (request.destroy(), done({ status: answer.statusCode })));
      socket.on("error", () => {});
    });
  const { socket } = await open(SOCKET, good);
  const echoed = [];
  for (const text of ["hei", "x".repeat(200_000)]) {
    const back = new Promise((read) => socket.once("message", (data) => read(data.toString())));
    socket.send(text);
    echoed.push((await back) === text);
  }
  const closed = new Promise((read) => socket.on("close", read));
  socket.close(1000);
  const turned_away = [];
  for (const [path, headers] of [[SOCKET, {}], [SOCKET, refused], [READ, good]])
    turned_away.push((await open(path, headers)).status);
  return { echoed, closed: await closed, refused: turned_away };
}

const results = {};
for (const call of [node_http, node_http2, websocket]) results[call.name] = await call();
console.log(JSON.stringify(results));
process.exit(0);

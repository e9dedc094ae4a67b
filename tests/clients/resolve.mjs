// Loaded before a program that has the addresses of the real services in it (`node --import`), so that it finds the
// sandbox and the proxy instead: each name and port below is the address in SANDBOX or PROXY. The program is not
// changed; NODE_EXTRA_CA_CERTS names the authority that it trusts.
import net from "node:net";

const places = {
  "test.maskinporten.no:443": process.env.SANDBOX,
  "platform.tt02.altinn.no:443": process.env.SANDBOX,
  "api.skattesentralen.example:80": process.env.PROXY,
};
const real = net.Socket.prototype.connect;

net.Socket.prototype.connect = function connect(...args) {
  const given = Array.isArray(args[0]) ? args[0][0] : args[0];
  const place = places[`${given?.host}:${Number(given?.port) || 80}`];
  if (!place) throw new Error(`nothing else is to be called: ${given?.host}:${given?.port}`);
  const [host, port] = place.split(":");
  const moved = { ...given, host, port: Number(port) };
  if (Array.isArray(args[0])) {
    // Node's own callers pass the list of arguments already put in order, and mark it.
    args[0][0] = moved;
  } else {
    args[0] = moved;
  }
  return real.apply(this, args);
};

// Loaded before a program that has the addresses of the real services in it (`node --import`), so that it finds the
// sandbox instead: port 443 of the names below is the address in SANDBOX. The program is not changed;
// NODE_EXTRA_CA_CERTS names the authority that it trusts.
import net from "node:net";

const names = new Set(["test.maskinporten.no", "platform.tt02.altinn.no"]);
const [host, port] = process.env.SANDBOX.split(":");
const real = net.Socket.prototype.connect;

net.Socket.prototype.connect = function connect(...args) {
  const given = Array.isArray(args[0]) ? args[0][0] : args[0];
  if (!names.has(given?.host) || Number(given.port) !== 443) {
    throw new Error(`nothing else is to be called: ${given?.host}:${given?.port}`);
  }
  const moved = { ...given, host, port: Number(port) };
  if (Array.isArray(args[0])) {
    // Node's own callers pass the list of arguments already put in order, and mark it.
    args[0][0] = moved;
  } else {
    args[0] = moved;
  }
  return real.apply(this, args);
};

"""Many connections at once that mean no good, in a process of their own, so that they take no time from the traffic."""

import json
import selectors
import socket
import subprocess
import sys
import threading
import time


class Crowd:
    """Connections to `address`, opened as fast as they are taken; each is sent `first`, and `drip` again and again. Those
    that were ended are opened `again` where that is wanted. What comes is read and thrown away."""

    def __init__(self, address, most, first=b"", drip=b"", every=5.0, again=False):
        wish = [address, most, first.decode("latin-1"), drip.decode("latin-1"), every, again]
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self.process.stdin.write(json.dumps(wish) + "\n")
        self.process.stdin.flush()
        # Opened in all, and ended by the other side; bytes that it took.
        self.opened, self.ended, self.sent = 0, 0, 0
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        for line in self.process.stdout:
            self.opened, self.ended, self.sent = json.loads(line)

    def stop(self):
        """Closes all of them."""
        self.process.terminate()
        self.process.wait()


class Strangers:
    """What that process does."""

    def __init__(self, address, most, first, drip, every, again):
        host, port = address.rsplit(":", 1)
        self.address, self.most, self.first, self.drip = (host, int(port)), most, first.encode("latin-1"), drip.encode("latin-1")
        self.every, self.again = every, again
        self.opened, self.ended, self.sent, self.open = 0, 0, 0, {}
        self.selector = selectors.DefaultSelector()

    def _begin(self):
        made = socket.socket()
        made.setblocking(False)
        # Says EINPROGRESS.
        made.connect_ex(self.address)
        self.opened += 1
        self.open[made] = [time.monotonic() + self.every, self.first]
        self.selector.register(made, selectors.EVENT_READ | selectors.EVENT_WRITE)

    def _end(self, made):
        self.selector.unregister(made)
        del self.open[made]
        made.close()
        self.ended += 1

    def _write(self, made, state):
        if state[1]:
            taken = made.send(state[1][:65536])
            self.sent += taken
            state[1] = state[1][taken:]
        else:
            self.selector.modify(made, selectors.EVENT_READ)

    def _serve(self, made, events):
        try:
            if events & selectors.EVENT_READ and not made.recv(65536):
                self._end(made)
            elif events & selectors.EVENT_WRITE:
                self._write(made, self.open[made])
        except BlockingIOError:
            pass
        except OSError:
            self._end(made)

    def run(self):
        begun, look, tell = 0, 0.0, 0.0
        while True:
            # A few at a time, so that those that are there are heard.
            for _ in range(200):
                if len(self.open) < self.most and (self.again or begun < self.most):
                    self._begin()
                    begun += 1
            for key, events in self.selector.select(0.05):
                self._serve(key.fileobj, events)
            now = time.monotonic()
            if self.drip and now >= look:
                look = now + 0.5
                for made, state in self.open.items():
                    if now >= state[0] and not state[1]:
                        state[0], state[1] = now + self.every, self.drip
                        self.selector.modify(made, selectors.EVENT_READ | selectors.EVENT_WRITE)
            if now >= tell:
                tell = now + 0.1
                # Ends this process when nobody listens any more.
                print(json.dumps([self.opened, self.ended, self.sent]), flush=True)


if __name__ == "__main__":
    Strangers(*json.loads(sys.stdin.readline())).run()

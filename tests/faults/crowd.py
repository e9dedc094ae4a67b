"""Many connections at once that mean no good, held by one thread."""

import selectors
import socket
import threading
import time


class Crowd:
    """Connections from `sources` to `address`, opened as fast as they are taken; each is sent `first`, and `drip` again
    and again. What comes is read and thrown away, unless `reads` is false."""

    def __init__(self, address, most, first=b"", drip=b"", every=5.0, sources=("127.0.0.1",), again=False, reads=True):
        # Those that do not read are never heard of again.
        assert reads or not drip
        host, port = address.rsplit(":", 1)
        self.address, self.most, self.first, self.drip = (host, int(port)), most, first, drip
        self.every, self.sources, self.again, self.reads = every, sources, again, reads
        # Opened in all, open now, and ended by the other side; bytes that it took.
        self.opened, self.ended, self.refused, self.sent = 0, 0, 0, 0
        self.answers = {}
        self.open, self.stopped = {}, threading.Event()
        self.selector = selectors.DefaultSelector()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def stop(self):
        """Closes all of them."""
        self.stopped.set()
        self.thread.join()

    def _begin(self):
        made = socket.socket()
        made.setblocking(False)
        made.bind((self.sources[self.opened % len(self.sources)], 0))
        # Says EINPROGRESS.
        made.connect_ex(self.address)
        self.opened += 1
        self.open[made] = [time.monotonic() + self.every, self.first]
        self.selector.register(made, selectors.EVENT_READ | selectors.EVENT_WRITE)

    def _end(self, made):
        if made in self.selector.get_map():
            self.selector.unregister(made)
        del self.open[made]
        made.close()
        self.ended += 1

    def _write(self, made, state):
        if not state[1]:
            if self.reads:
                self.selector.modify(made, selectors.EVENT_READ)
            else:
                self.selector.unregister(made)
            return
        taken = made.send(state[1][:65536])
        self.sent += taken
        state[1] = state[1][taken:]

    def _run(self):
        begun, look = 0, 0.0
        while not self.stopped.is_set():
            while len(self.open) < self.most and (self.again or begun < self.most):
                self._begin()
                begun += 1
                if begun % 200 == 0:
                    break
            for key, events in self.selector.select(0.05):
                made, state = key.fileobj, self.open[key.fileobj]
                try:
                    if events & selectors.EVENT_READ and self.reads:
                        told = made.recv(65536)
                        if not told:
                            self._end(made)
                            continue
                        word = told[:12]
                        self.answers[word] = self.answers.get(word, 0) + 1
                    if events & selectors.EVENT_WRITE:
                        self._write(made, state)
                except BlockingIOError:
                    pass
                except OSError:
                    self._end(made)
            now = time.monotonic()
            if self.drip and now >= look:
                look = now + 0.5
                for made, state in list(self.open.items()):
                    if now >= state[0] and not state[1]:
                        state[0], state[1] = now + self.every, self.drip
                        self.selector.modify(made, selectors.EVENT_READ | selectors.EVENT_WRITE)
        for made in list(self.open):
            made.close()
        self.open.clear()
        self.selector.close()

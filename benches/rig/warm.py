#!/usr/bin/env python3
"""Makes the register that the rig's Portvakt starts with: sends one request with each token of the rig, waits
until the system users that they name were read, and leaves the snapshot in RUN.

  warm.py PROGRAM BIN PORT AUX DATA RUN

The peers have the rig's register in a file. Portvakt reads its own from Altinn, ahead of the requests, and keeps
it over restarts; this is that time before. A snapshot is made once in half an hour, beside the program.
"""
import os, re, shutil, subprocess, sys, time, urllib.request

PROGRAM, BIN, PORT, AUX, DATA, RUN = sys.argv[1:]
HERE = os.path.dirname(os.path.abspath(__file__))
KEPT = os.path.join(os.path.dirname(PROGRAM), f"rig-register-{PORT}")
if os.path.exists(KEPT) and time.time() - os.path.getmtime(KEPT) < 1800:
    shutil.copy2(KEPT, f"{RUN}/register")
    sys.exit()

with open(f"{DATA}/valid.txt") as tokens:
    count = len(tokens.readlines())
with open(f"{RUN}/portvakt.yaml.in") as config:
    text = config.read().replace("filter: warn", "filter: info")
with open(f"{RUN}/warm.yaml", "w") as config:
    config.write(text)
stub = subprocess.Popen(["python3", f"{HERE}/altinn_stub.py", AUX, DATA])
with open(f"{RUN}/warm.log", "w") as log:
    program = subprocess.Popen([PROGRAM, "run", "--config", f"{RUN}/warm.yaml"], stdout=log, stderr=log)


def wait(what, found):
    end = time.monotonic() + 300
    while not (result := found()):
        if program.poll() is not None or time.monotonic() > end:
            sys.exit(f"{what}: not reached; see {RUN}/warm.log")
        time.sleep(0.2)
    return result


def admin():
    with open(f"{RUN}/warm.log") as log:
        found = re.search(r'"admin":"([^"]+)"', log.read())
    return found and found[1]


def metric(name):
    page = urllib.request.urlopen(f"http://{address}/metrics").read().decode()
    return float(re.search(rf"^{name} (\S+)", page, re.M)[1])


try:
    address = wait("listening", admin)
    subprocess.run(
        [f"{BIN}/volley", "--addr", f"127.0.0.1:{PORT}", "--conns", "64", "--duration", "300", "--warmup", "0",
         "--requests", str(count), "--tokens", f"{DATA}/valid.txt"],
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    # Each has one party.
    named = wait("all named", lambda: metric("portvakt_register_system_users"))
    wait("all read", lambda: metric("portvakt_register_parties") >= named)
finally:
    program.terminate()
    program.wait()
    stub.terminate()
shutil.copy2(f"{RUN}/register", KEPT)

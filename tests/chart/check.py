"""What helm/check runs: check.py TOOLS PORTVAKT. Prints a line for each check, and every finding; exit code 1 with any."""

import base64
import concurrent.futures
import copy
import datetime
import difflib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zlib

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = ROOT / "tests/chart"
TOOLS = pathlib.Path(sys.argv[1]).resolve()
PORTVAKT = str(pathlib.Path(sys.argv[2]).resolve())
MAJORS = ("3", "4")
KUBERNETES = ("1.29", "1.33", "1.37")

# Kinds that Kubernetes itself does not know; the operator's are checked against its models.
OPERATOR = {"PodMonitor", "ServiceMonitor", "PrometheusRule"}
FOREIGN = OPERATOR | {"CiliumNetworkPolicy"}

# Name, chart, release, namespace, files of values, each from the root.
RENDERS = [
    ("gateway", "helm/portvakt", "gateway", "vat", ["helm/examples/gateway/values.yaml"]),
    ("sidecar", "helm/examples/sidecar", "vat", "vat", []),
    ("claim-cilium", "helm/portvakt", "portvakt", "edge", ["tests/chart/variants/claim-cilium.yaml"]),
    ("existing", "helm/portvakt", "edge", "edge", ["tests/chart/variants/existing.yaml"]),
    ("sidecar-cilium", "helm/examples/sidecar", "vat", "vat", ["tests/chart/variants/sidecar-cilium.yaml"]),
]
PLATFORMS = {"nais": "helm/examples/nais/portvakt.yaml", "skiperator": "helm/examples/skiperator/portvakt.yaml"}

passed = failed = 0


def check(what: str, wrong: list[str]) -> None:
    """Tells of one check and what it found."""
    global passed, failed
    passed, failed = (passed, failed + 1) if wrong else (passed + 1, failed)
    print(f"{'ok  ' if not wrong else 'FAIL'} {what}", flush=True)
    for finding in wrong:
        print(f"     {finding}", flush=True)


def run(*command: str, **more) -> subprocess.CompletedProcess:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **more)


def helm(major: str, *arguments: str) -> subprocess.CompletedProcess:
    return run(TOOLS / f"helm{major}" / "helm", *arguments, env=ENVIRONMENT)


def template(major: str, tree: pathlib.Path, render, *more: str) -> subprocess.CompletedProcess:
    _, chart, release, namespace, files = render
    values = [part for file in files for part in ("-f", str(ROOT / file))]
    return helm(major, "template", release, str(tree / chart), "--namespace", namespace, *values, *more)


def documents(text: str) -> list[dict]:
    return [document for document in yaml.safe_load_all(text) if document]


def without_blank_lines(text: str) -> str:
    """The majors differ in blank lines between documents."""
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines() if line.strip())


def plant(folder: pathlib.Path, stubs: bool) -> pathlib.Path:
    """A copy of helm/ with the examples' dependencies in place; golden renders are made with stubs of what other parts write."""
    shutil.copytree(ROOT / "helm", folder / "helm", ignore=shutil.ignore_patterns("charts", "Chart.lock"))
    if stubs:
        (folder / "helm/portvakt/files").mkdir(exist_ok=True)
        for stub in (HERE / "stubs").iterdir():
            shutil.copy(stub, folder / "helm/portvakt/files")
    result = helm("4", "dependency", "update", "--skip-refresh", str(folder / "helm/examples/sidecar"))
    check(f"sidecar: helm dependency update{' with stubs' if stubs else ''}", [] if result.returncode == 0 else [result.stderr])
    return folder


# ---- Golden renders


def golden(tree: pathlib.Path) -> dict[str, str]:
    """Lints and renders everything with both majors, and compares with what is kept."""
    rendered = {}
    for render in RENDERS:
        name, chart, _, _, files = render
        texts = {}
        for major in MAJORS:
            values = [part for file in files for part in ("-f", str(ROOT / file))]
            lint = helm(major, "lint", "--strict", str(tree / chart), *values)
            check(f"{name}: helm {major} lint", [] if lint.returncode == 0 else [lint.stdout + lint.stderr])
            result = template(major, tree, render)
            check(f"{name}: helm {major} template", [] if result.returncode == 0 else [result.stderr])
            texts[major] = without_blank_lines(result.stdout)
        same = texts["3"] == texts["4"]
        check(f"{name}: both majors render the same", [] if same else difference(texts["3"], texts["4"]))
        rendered[name] = texts["4"]
        kept = HERE / "golden" / f"{name}.yaml"
        if os.environ.get("UPDATE"):
            kept.parent.mkdir(exist_ok=True)
            kept.write_text(texts["4"])
        before = kept.read_text() if kept.exists() else ""
        found = [] if before == texts["4"] else [*difference(before, texts["4"]), "as meant? UPDATE=1 helm/check"]
        check(f"{name}: as in tests/chart/golden", found)
    return rendered


def difference(before: str, after: str) -> list[str]:
    return list(difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=1))[:60]


# ---- Kubernetes' schemas


def schemas(texts: dict[str, str], folder: pathlib.Path) -> None:
    """Unknown and ill-typed fields, by Kubernetes' own schemas."""
    known = []
    for name, text in texts.items():
        for document in documents(text):
            if document["kind"] not in FOREIGN and document["kind"] != "Application":
                known.append(document)
    file = folder / "known.yaml"
    file.write_text(yaml.safe_dump_all(known))
    program = TOOLS / "py/bin/kubernetes-validate"
    for version in KUBERNETES:
        result = run(program, "--strict", "--quiet", "-k", version, file)
        told = (result.stdout + result.stderr).strip().splitlines()
        check(f"{len(known)} documents hold for Kubernetes {version}", told)

    # The validator sees anything at all only if it finds this.
    file.write_text(yaml.safe_dump_all([{**copy.deepcopy(known[0]), "spek": {}}]))
    result = run(program, "--strict", "--quiet", "-k", KUBERNETES[-1], file)
    check("a misspelt field is found", [] if result.returncode else ["it is not"])


# ---- Pod security


def pods(text: str) -> list[tuple[str, dict]]:
    """Every pod template, with its name."""
    found = []
    for document in documents(text):
        if document["kind"] in ("Deployment", "StatefulSet", "DaemonSet", "Job"):
            found.append((f"{document['kind']} {document['metadata']['name']}", document["spec"]["template"]))
    return found


def restricted(pod: dict) -> list[str]:
    """What the restricted standard of Kubernetes forbids, and what we promise besides."""
    spec = pod["spec"]
    found = []

    def demand(holds: bool, message: str) -> None:
        if not holds:
            found.append(message)

    demand(spec.get("automountServiceAccountToken") is False, "a service account's token is mounted")
    for switch in ("hostNetwork", "hostPID", "hostIPC"):
        demand(not spec.get(switch), f"{switch} is on")
    for volume in spec.get("volumes", []):
        kinds = set(volume) - {"name"}
        allowed = {"configMap", "secret", "emptyDir", "persistentVolumeClaim", "projected", "downwardAPI", "csi", "ephemeral"}
        demand(bool(kinds) and kinds <= allowed, f"volume {volume['name']}: {sorted(kinds)}")
    of_pod = spec.get("securityContext", {})
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        name = container["name"]
        context = container.get("securityContext", {})
        seccomp = context.get("seccompProfile", of_pod.get("seccompProfile", {}))
        demand(context.get("runAsNonRoot", of_pod.get("runAsNonRoot")) is True, f"{name}: may run as root")
        demand(context.get("runAsUser", of_pod.get("runAsUser", 1)) != 0, f"{name}: runs as root")
        demand(context.get("readOnlyRootFilesystem") is True, f"{name}: its root file system can be written to")
        demand(context.get("allowPrivilegeEscalation") is False, f"{name}: may gain privileges")
        demand(not context.get("privileged"), f"{name}: is privileged")
        demand(context.get("capabilities", {}).get("drop") == ["ALL"], f"{name}: keeps capabilities")
        demand(not context.get("capabilities", {}).get("add"), f"{name}: adds capabilities")
        demand(seccomp.get("type") == "RuntimeDefault", f"{name}: no seccomp profile")
        demand("memory" in container.get("resources", {}).get("limits", {}), f"{name}: no limit on memory")
        demand(all("hostPort" not in port for port in container.get("ports", [])), f"{name}: a port of the node")
    return found


def security(texts: dict[str, str]) -> None:
    for name, text in texts.items():
        for title, pod in pods(text):
            check(f"{name}: {title} keeps to the restricted standard", restricted(pod))
    # Each demand can fail: one pod, spoilt in one way at a time.
    (_, good), = pods(texts["gateway"])
    spoilt = {
        "token": lambda spec, one: spec.update(automountServiceAccountToken=True),
        "hostNetwork": lambda spec, one: spec.update(hostNetwork=True),
        "hostPath": lambda spec, one: spec["volumes"].append({"name": "x", "hostPath": {"path": "/"}}),
        "root": lambda spec, one: one.update(runAsNonRoot=False),
        "user 0": lambda spec, one: one.update(runAsUser=0),
        "writable": lambda spec, one: one.update(readOnlyRootFilesystem=False),
        "escalation": lambda spec, one: one.pop("allowPrivilegeEscalation"),
        "privileged": lambda spec, one: one.update(privileged=True),
        "capabilities": lambda spec, one: one.update(capabilities={"drop": ["ALL"], "add": ["NET_ADMIN"]}),
        "kept": lambda spec, one: one.pop("capabilities"),
        "seccomp": lambda spec, one: one.update(seccompProfile={"type": "Unconfined"}),
        "memory": lambda spec, one: spec["containers"][0].pop("resources"),
    }
    for what, spoil in spoilt.items():
        pod = copy.deepcopy(good)
        spoil(pod["spec"], pod["spec"]["containers"][0]["securityContext"])
        check(f"a pod is refused for {what}", [] if len(restricted(pod)) == 1 else [f"found: {restricted(pod)}"])


# ---- Things that must fit together


def fits(name: str, text: str) -> list[str]:
    """Selectors select our pods, ports are there, what is mounted exists, a stop has the time it takes."""
    found = []
    all_documents = documents(text)
    of_kind = lambda *kinds: [it for it in all_documents if it["kind"] in kinds]
    templates = [template for _, template in pods(text)]
    maps = {it["metadata"]["name"] for it in of_kind("ConfigMap")}
    if name == "existing":
        maps.add("my-portvakt")

    def selects(selector: dict) -> bool:
        return any(selector.items() <= pod["metadata"]["labels"].items() for pod in templates)

    for document in of_kind("Service"):
        if not selects(document["spec"]["selector"]):
            found.append(f"service {document['metadata']['name']} selects no pod")
    for document in of_kind("NetworkPolicy", "PodDisruptionBudget", "PodMonitor"):
        title = f"{document['kind']} {document['metadata']['name']}"
        selector = document["spec"].get("podSelector", document["spec"].get("selector"))["matchLabels"]
        # The upstream is not of this chart.
        if not title.endswith("-upstream") and not (selector and selects(selector)):
            found.append(f"{title} selects no pod")
    for document in of_kind("CiliumNetworkPolicy"):
        if not selects(document["spec"]["endpointSelector"]["matchLabels"]):
            found.append("the Cilium policy selects no pod")
    for document in of_kind("ServiceMonitor"):
        wanted = document["spec"]["selector"]["matchLabels"].items()
        services = [it for it in of_kind("Service") if wanted <= it["metadata"]["labels"].items()]
        if [it["spec"]["ports"][0]["name"] for it in services] != [document["spec"]["endpoints"][0]["port"]]:
            found.append("the ServiceMonitor finds not exactly the one service with its port")
    for pod in templates:
        spec = pod["spec"]
        containers = [*spec.get("initContainers", []), *spec["containers"]]
        (portvakt,) = [it for it in containers if it["name"] == "portvakt"]
        volumes = {it["name"] for it in spec["volumes"]}
        volumes |= {it["metadata"]["name"] for doc in of_kind("StatefulSet") for it in doc["spec"].get("volumeClaimTemplates", [])}
        for container in containers:
            for mount in container.get("volumeMounts", []):
                if mount["name"] not in volumes:
                    found.append(f"{container['name']} mounts {mount['name']}, which is not there")
        for volume in spec["volumes"]:
            if "configMap" in volume and volume["configMap"]["name"] not in maps:
                found.append(f"ConfigMap {volume['configMap']['name']} is not there")
        ports = {port["name"] for port in portvakt["ports"]}
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            if portvakt[probe]["httpGet"]["port"] not in ports:
                found.append(f"{probe} asks at a port that is not there")
        if any(mount.get("subPath") for mount in portvakt["volumeMounts"]):
            found.append("a subPath never sees a changed file")
        sidecar = portvakt in spec.get("initContainers", [])
        if sidecar != (portvakt.get("restartPolicy") == "Always"):
            found.append("an init container without restartPolicy Always would never end, a container knows no such key")
        readiness = portvakt["readinessProbe"]
        if readiness["periodSeconds"] * readiness["failureThreshold"] >= 5:
            found.append("not ready is noticed later than shutdown.wait")
    return found


def grace(texts: dict[str, str]) -> None:
    """shutdown.wait 5 s, drain_timeout, 5 s, and 5 s in hand; for the sidecar 15 s for the owner's container."""
    wanted = {"gateway": 45, "sidecar": 60, "claim-cilium": 135, "existing": 90, "sidecar-cilium": 60}
    for name, text in texts.items():
        found = [pod["spec"]["terminationGracePeriodSeconds"] for _, pod in pods(text)]
        check(f"{name}: a stop has {wanted[name]} seconds", [] if found == [wanted[name]] else [f"it has {found}"])


def egress(texts: dict[str, str]) -> None:
    """What leaves: DNS, the two hosts, the upstream, and nothing else."""
    (policy,) = [it for it in documents(texts["gateway"]) if it["kind"] == "NetworkPolicy" and it["metadata"]["name"] == "gateway-portvakt"]
    ports = [[port["port"] for port in rule["ports"]] for rule in policy["spec"]["egress"]]
    check("gateway: only DNS, https and the upstream leave", [] if ports == [[53, 53], [443], [3000]] else [str(ports)])
    hosts = {"claim-cilium": ["maskinporten.no", "platform.altinn.no"], "sidecar-cilium": ["test.maskinporten.no", "platform.tt02.altinn.no"]}
    for name, wanted in hosts.items():
        (cilium,) = [it for it in documents(texts[name]) if it["kind"] == "CiliumNetworkPolicy"]
        found = [name["matchName"] for rule in cilium["spec"]["egress"] for name in rule.get("toFQDNs", [])]
        check(f"{name}: by name, {' and '.join(wanted)} alone", [] if found == wanted else [str(found)])
        (plain,) = [it for it in documents(texts[name]) if it["kind"] == "NetworkPolicy"]
        blocks = [to for rule in plain["spec"]["egress"] for to in rule["to"] if "ipBlock" in to]
        check(f"{name}: no address is open beside the names", [str(block) for block in blocks])


# ---- The operator's kinds, and the files of others


def operator(texts: dict[str, str]) -> None:
    kinds = [it for text in texts.values() for it in documents(text) if it["kind"] in OPERATOR]
    node = ["node", str(HERE / "monitors.mjs"), str(TOOLS / "node/node_modules")]
    result = run(*node, input=json.dumps(kinds))
    check(f"{len(kinds)} monitors and rules hold for the operator's models", [] if result.returncode == 0 else [result.stdout + result.stderr])
    spoilt = copy.deepcopy(kinds[0])
    spoilt["spec"]["selector" if "selector" in spoilt["spec"] else "groups"] = "none"
    result = run(*node, input=json.dumps([spoilt]))
    check("a selector that is a word is refused", [] if result.returncode == 3 else [result.stdout + result.stderr])


def files_of_others(tree: pathlib.Path) -> None:
    """The rules and the dashboard reach the cluster as they are in helm/portvakt/files."""
    rules = tree / "helm/portvakt/files/rules.yaml"
    dashboard = tree / "helm/portvakt/files/dashboard.json"
    for render in RENDERS[:2]:
        result = template("4", tree, render)
        if result.returncode:
            check(f"{render[0]}: rendered with helm/portvakt/files", [result.stderr])
            continue
        rendered = documents(result.stdout)
        found = [it["spec"]["groups"] for it in rendered if it["kind"] == "PrometheusRule"]
        wanted = [yaml.safe_load(rules.read_text())["groups"]] if rules.exists() else []
        check(f"{render[0]}: files/rules.yaml as it is ({len(wanted)})", [] if found == wanted else ["it differs"])
        found = [json.loads(it["data"]["portvakt.json"]) for it in rendered if it["kind"] == "ConfigMap" and "portvakt.json" in it["data"]]
        wanted = [json.loads(dashboard.read_text())] if dashboard.exists() else []
        check(f"{render[0]}: files/dashboard.json as it is ({len(wanted)})", [] if found == wanted else ["it differs"])
        operator({"files": result.stdout})
    runbook(tree)


def runbook(tree: pathlib.Path) -> None:
    """`metrics.rules.runbookUrl` takes every alert to its place on the published page, and changes nothing else."""
    page = "https://docs.example.no/portvakt/runbook/"
    for major in MAJORS:
        result = template(major, tree, RENDERS[0], "--set", f"metrics.rules.runbookUrl={page}")
        groups = [group for it in documents(result.stdout) if it["kind"] == "PrometheusRule" for group in it["spec"]["groups"]]
        wrong = [] if groups else [result.stderr or "no rules"]
        for rule in [rule for group in groups for rule in group["rules"] if "alert" in rule]:
            if rule["annotations"].get("runbook_url") != f"{page}#{rule['alert'].lower()}":
                wrong.append(f"{rule['alert']}: {rule['annotations']}")
        plain = yaml.safe_load((tree / "helm/portvakt/files/rules.yaml").read_text().replace("docs/runbook.md#", f"{page}#"))["groups"]
        check(f"helm {major}: every alert leads to the published runbook", wrong or ([] if groups == plain else ["something else differs"]))


# ---- Values that are refused


def refusals(tree: pathlib.Path) -> None:
    """Each bad value is refused by both majors with its key named, and its neighbour is taken."""
    table = yaml.safe_load((HERE / "refusals.yaml").read_text())
    base = HERE / table["base"]

    def attempt(major: str, values: dict) -> subprocess.CompletedProcess:
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            yaml.safe_dump(values, file)
            file.flush()
            return helm(major, "template", "r", str(tree / "helm/portvakt"), "-f", str(base), "-f", file.name)

    def one(case: dict) -> list[str]:
        found = []
        for major in MAJORS:
            bad = attempt(major, case["bad"])
            if bad.returncode == 0:
                found.append(f"helm {major} takes {case['bad']}")
            elif not named(case["names"], bad.stderr):
                found.append(f"helm {major} does not name {case['names']}: {bad.stderr.strip()}")
            good = attempt(major, case["good"])
            if good.returncode:
                found.append(f"helm {major} refuses the neighbour {case['good']}: {good.stderr.strip()}")
        return found

    for major in MAJORS:
        old = helm(major, "template", "r", str(tree / "helm/portvakt"), "-f", str(base), "--kube-version", "1.28.0")
        check(f"refused by helm {major}: Kubernetes 1.28", [] if old.returncode else ["it is taken"])
        # In another chart's pod the selectors of a gateway would find nothing.
        (sidecar,) = [it for it in RENDERS if it[0] == "sidecar"]
        mode = ["--set", "portvakt.mode=gateway", "--set", "portvakt.networkPolicy.enabled=false"]
        mixed = template(major, tree, sidecar, *mode)
        check(f"refused by helm {major}: the sidecar's helper in gateway mode", [] if "mode: must be" in mixed.stderr else [mixed.stderr])

    with concurrent.futures.ThreadPoolExecutor(max(2, os.cpu_count() or 2)) as pool:
        for case, found in zip(table["cases"], pool.map(one, table["cases"])):
            check(f"refused: {json.dumps(case['bad'])}", found)


def named(key: str, told: str) -> bool:
    """Helm 3 writes keys with dots, Helm 4 with slashes."""
    return key in told or key.replace(".", "/") in told


# ---- Portvakt's own opinion


def private_jwk() -> str:
    """A client's key as the platforms write it."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    numbers = key.private_numbers()
    public = numbers.public_numbers
    members = {"n": public.n, "e": public.e, "d": numbers.d, "p": numbers.p, "q": numbers.q}
    members |= {"dp": numbers.dmp1, "dq": numbers.dmq1, "qi": numbers.iqmp}
    octets = {name: value.to_bytes((value.bit_length() + 7) // 8, "big") for name, value in members.items()}
    encoded = {name: base64.urlsafe_b64encode(value).rstrip(b"=").decode() for name, value in octets.items()}
    return json.dumps({"kty": "RSA", "kid": "check", "use": "sig", "alg": "RS256", **encoded})


def certificate() -> dict[str, str]:
    """What a Secret of the type kubernetes.io/tls holds."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "gateway.example.no")])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(days=30))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("gateway.example.no")]), critical=False)
    signed = builder.sign(key, hashes.SHA256())
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return {
        "tls.crt": signed.public_bytes(serialization.Encoding.PEM).decode(),
        "tls.key": key.private_bytes(*form).decode(),
    }


def secrets() -> dict[str, dict[str, str]]:
    """Contents of the Secrets that the examples name, and of what the platforms give."""
    jwk = private_jwk()
    pem = certificate()
    client = "11111111-2222-4333-8444-555555555555"
    scopes = "altinn:authorization/authorize altinn:accessmanagement/authorizedparties.resourceowner"

    def platform(issuer: str) -> dict[str, str]:
        # As digdirator writes them, on NAIS and on SKIP.
        return {
            "MASKINPORTEN_CLIENT_ID": client,
            "MASKINPORTEN_CLIENT_JWK": jwk,
            "MASKINPORTEN_SCOPES": scopes,
            "MASKINPORTEN_ISSUER": issuer,
            "MASKINPORTEN_WELL_KNOWN_URL": f"{issuer}.well-known/oauth-authorization-server",
            "MASKINPORTEN_JWKS_URI": f"{issuer}jwk",
            "MASKINPORTEN_TOKEN_ENDPOINT": f"{issuer}token",
        }

    test, prod = platform("https://test.maskinporten.no/"), platform("https://maskinporten.no/")
    altinn = {"ALTINN_SUBSCRIPTION_KEY": "0123456789abcdef0123456789abcdef"}
    return {
        "altinn": {"subscription-key": altinn["ALTINN_SUBSCRIPTION_KEY"]},
        "maskinporten": {"client-id": client, "jwk.json": jwk},
        "maskinporten-variables": prod,
        "snapshot": {"key": "ab" * 32},
        "portvakt-admin": {"token": "cd" * 32},
        "gateway-tls": pem,
        "portvakt-altinn": altinn,
        "property-api-altinn": altinn,
        # What NAIS gives by itself; SKIP by the name that its operator makes.
        "nais": test,
        "maskinporten-property-api-51a37eec": test,
    }


def judge(config: str, variables: dict[str, str], files: dict[str, str], folders: list[str]) -> subprocess.CompletedProcess:
    """`portvakt check`, with the variables and nothing else, and with mounted files where they can be read here."""
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder)
        for path, content in files.items():
            target = place / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(content)
        for path in folders:
            (place / path.lstrip("/")).mkdir(parents=True, exist_ok=True)
        for path in sorted({str(pathlib.Path(path).parent) for path in files} | set(folders), key=len, reverse=True):
            config = config.replace(path + "/", f"{folder}{path}/")
        file = place / "portvakt.yaml"
        file.write_text(config)
        return subprocess.run([PORTVAKT, "check", "--config", str(file)], env=variables, capture_output=True, text=True, check=False)


def of_pod(text: str, known: dict) -> tuple[str, dict, dict, list]:
    """Configuration, variables, files and writable folders that Portvakt's container has in a rendered pod."""
    ((_, pod),) = pods(text)
    spec = pod["spec"]
    (container,) = [it for it in [*spec.get("initContainers", []), *spec["containers"]] if it["name"] == "portvakt"]
    maps = {it["metadata"]["name"]: it["data"] for it in documents(text) if it["kind"] == "ConfigMap"}
    volumes = {it["name"]: it for it in spec["volumes"]}
    variables, files, folders, config = {}, {}, [], ""
    for source in container.get("envFrom", []):
        variables |= known[source["secretRef"]["name"]]
    for variable in container.get("env", []):
        reference = variable.get("valueFrom", {}).get("secretKeyRef")
        variables[variable["name"]] = known[reference["name"]][reference["key"]] if reference else variable["value"]
    for mount in container["volumeMounts"]:
        volume = volumes.get(mount["name"], {})
        if "configMap" in volume:
            config = maps[volume["configMap"]["name"]]["portvakt.yaml"]
        elif "secret" in volume:
            content = known[volume["secret"]["secretName"]]
            items = volume["secret"].get("items", [{"key": key, "path": key} for key in content])
            files |= {f"{mount['mountPath']}/{item['path']}": content[item["key"]] for item in items}
        else:
            folders.append(mount["mountPath"])
    return config, variables, files, folders


def of_platform(name: str, known: dict) -> tuple[str, dict, dict, list]:
    """The same, of an Application of NAIS or SKIP."""
    all_documents = documents((ROOT / PLATFORMS[name]).read_text())
    (map_,) = [it for it in all_documents if it["kind"] == "ConfigMap"]
    application = next(it for it in all_documents if it["kind"] == "Application")["spec"]
    variables = dict(known["nais"]) if name == "nais" else {}
    container = application
    if name == "skiperator":
        (container,) = application["extraContainers"]
    variables |= {it["name"]: it["value"] for it in container["env"]}
    for source in container["envFrom"]:
        variables |= known[source["secret"]]
    map_key = {"nais": "configmap", "skiperator": "configMap"}[name]
    (config_mount,) = [it for it in container["filesFrom"] if map_key in it]
    assert config_mount[map_key] == map_["metadata"]["name"], "the ConfigMap that is mounted is the one in the file"
    assert variables["PORTVAKT_CONFIG"] == config_mount["mountPath"] + "/portvakt.yaml", "the file is where it is looked for"
    folders = [it["mountPath"] for it in container["filesFrom"] if "emptyDir" in it]
    mounted = [it for it in container["filesFrom"] if "secret" in it]
    files = {f"{it['mountPath']}/{key}": text for it in mounted for key, text in known[it["secret"]].items()}
    return map_["data"]["portvakt.yaml"], variables, files, folders


def configurations(texts: dict[str, str]) -> None:
    known = secrets()
    cases = {name: of_pod(texts[name], known) for name in texts if name != "existing"}
    cases |= {name: of_platform(name, known) for name in PLATFORMS}
    for name, (config, variables, files, folders) in cases.items():
        result = judge(config, variables, files, folders)
        check(f"{name}: portvakt takes the configuration", [] if result.returncode == 0 else [result.stderr])
        # With the variables and files taken away it must complain: else nothing was read.
        result = judge(config, {}, {}, folders)
        check(f"{name}: and not without its secrets", [] if result.returncode == 1 else ["it does"])
    # On another Maskinporten the platform's variables and a pinned environment disagree.
    config, variables, files, folders = cases["skiperator"]
    result = judge("environment: prod\n" + config, variables, files, folders)
    check("skiperator: a pinned environment that is not the platform's is refused", [] if result.returncode == 1 else ["it is taken"])


def platforms() -> None:
    """What the two platforms' operators demand of our manifests, as far as it can be told here."""
    nais = documents((ROOT / PLATFORMS["nais"]).read_text())
    app = next(it["spec"] for it in nais if it["kind"] == "Application")
    listens = yaml.safe_load(nais[0]["data"]["portvakt.yaml"])
    found = []
    if not listens["listen"]["address"].endswith(f":{app['port']}"):
        found.append("port is not where Portvakt listens")
    for probe in ("liveness", "readiness", "startup"):
        if not listens["admin"]["address"].endswith(f":{app[probe]['port']}"):
            found.append(f"{probe}: not the admin listener's port")
    # The program reads variables of these names; a Secret with another one would be told by `check` above.
    check("nais: ports are those of the configuration", found)

    skip = documents((ROOT / PLATFORMS["skiperator"]).read_text())
    spec = next(it["spec"] for it in skip if it["kind"] == "Application")
    (container,) = spec["extraContainers"]
    listens = yaml.safe_load(skip[0]["data"]["portvakt.yaml"])
    found = []
    if container["ingressPort"] not in [it["port"] for it in container["additionalPorts"]]:
        found.append("ingressPort is not among additionalPorts")
    if container["ingressPort"] == spec["port"]:
        found.append("ingressPort must differ from port")
    if not listens["listen"]["address"].endswith(f":{container['ingressPort']}"):
        found.append("ingressPort is not where Portvakt listens")
    if not listens["upstream"]["url"].endswith(f":{spec['port']}"):
        found.append("the upstream is not the main container")
    name = next(it["metadata"]["name"] for it in skip if it["kind"] == "Application")
    secret = f"maskinporten-{name}-{zlib.crc32(f'maskinporten-{name}'.encode()):08x}"
    if secret not in [it.get("secret") for it in container["filesFrom"]]:
        found.append(f"the Maskinporten client is in {secret}")
    check("skiperator: ports and the Secret's name are right", found)


# ---- Form


def form(texts: dict[str, str], folder: pathlib.Path) -> None:
    written = [*sorted((ROOT / "helm").rglob("*.yaml")), *sorted(HERE.rglob("*.yaml"))]
    others = {"templates", "golden", "charts", "files"}
    written = [it for it in written if not others & set(it.parts)]
    rules = "{extends: default, rules: {line-length: {max: 130}, document-start: disable, braces: {max-spaces-inside: 1}, comments: {min-spaces-from-content: 1}}}"
    lint = run(TOOLS / "py/bin/yamllint", "-s", "-d", rules, *[str(it) for it in written])
    check(f"yamllint: {len(written)} files", lint.stdout.splitlines())
    # Rendered: what would be read in two ways, such as a key that stands twice.
    rendered = folder / "rendered.yaml"
    rendered.write_text("".join(texts.values()))
    strict = "{rules: {key-duplicates: enable, truthy: enable, octal-values: disable}}"
    lint = run(TOOLS / "py/bin/yamllint", "-s", "-d", strict, str(rendered))
    check("yamllint: what is rendered", lint.stdout.splitlines())
    program = TOOLS / "py/bin/check-jsonschema"
    result = run(program, "--check-metaschema", ROOT / "helm/portvakt/values.schema.json")
    check("values.schema.json is a schema", [] if result.returncode == 0 else [result.stdout])
    result = run(program, "--schemafile", ROOT / "helm/portvakt/values.schema.json", ROOT / "helm/portvakt/values.yaml")
    check("values.yaml keeps to it", [] if result.returncode == 0 else [result.stdout])
    check("every value is in the schema and every key of the schema has a value", values_and_schema())
    result = run(TOOLS / "py/bin/hadolint", ROOT / "Dockerfile")
    check("hadolint: Dockerfile", (result.stdout + result.stderr).splitlines())


def values_and_schema() -> list[str]:
    schema = json.loads((ROOT / "helm/portvakt/values.schema.json").read_text())
    values = yaml.safe_load((ROOT / "helm/portvakt/values.yaml").read_text())
    found = []

    def walk(at: dict, value, path: str) -> None:
        for key, part in at.get("properties", {}).items():
            here = f"{path}.{key}".lstrip(".")
            if key == "global" or (path.startswith("probes.") and key in ("initialDelaySeconds", "successThreshold")):
                continue
            if path in ("resources.requests", "resources.limits"):
                continue
            if not isinstance(value, dict) or key not in value:
                found.append(f"{here} has no value in values.yaml")
            else:
                walk(part, value[key], here)

    walk(schema, values, "")
    return found


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        global ENVIRONMENT
        # Helm keeps caches and settings in the home folder: one of its own.
        ENVIRONMENT = {"PATH": os.environ["PATH"], "HOME": name}
        stubbed = plant(folder / "stubbed", stubs=True)
        real = plant(folder / "real", stubs=False)
        texts = golden(stubbed)
        if failed:
            return tell()
        manifests = texts | {name: (ROOT / file).read_text() for name, file in PLATFORMS.items()}
        form(texts, folder)
        schemas(manifests, folder)
        security(texts)
        for name, text in texts.items():
            check(f"{name}: everything fits together", fits(name, text))
        grace(texts)
        egress(texts)
        operator(texts)
        files_of_others(real)
        platforms()
        configurations(texts)
        refusals(stubbed)
    return tell()


def tell() -> int:
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


ENVIRONMENT: dict[str, str] = {}

if __name__ == "__main__":
    sys.exit(main())

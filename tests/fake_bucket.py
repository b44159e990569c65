"""A bucket in memory, with the methods of `bucket.store.Bucket`, and output folders put into it."""

import threading
from pathlib import Path

from venice_batch.bucket.store import Content, Entry, Meta, Version


class FakeBucket:
    """Objects by path. `requests` lists each call; `before` runs before each one and may raise or change objects."""

    def __init__(self, address="s3://bucket/out", *, conditions=True):
        self.address = address
        self.conditions = conditions
        self.objects = {}
        self.types = {}
        self.metadata = {}
        self.versions = {}
        self.requests = []
        self.before = lambda name, path: None
        self._number = 0
        self._lock = threading.RLock()

    def _ask(self, name, path):
        self.requests.append((name, path))
        self.before(name, path)

    def _store(self, path, source, content_type, metadata):
        self._number += 1
        self.objects[path] = source if isinstance(source, bytes) else Path(source).read_bytes()
        self.types[path] = content_type
        self.metadata[path] = dict(metadata or {})
        self.versions[path] = Version(f'"{self._number}"')
        return self.versions[path]

    def create(self, path, source, *, content_type="", metadata=None):
        self._ask("create", path)
        with self._lock:
            taken = self.conditions and path in self.objects
            return None if taken else self._store(path, source, content_type, metadata)

    def replace(self, path, source, version, *, content_type="", metadata=None):
        self._ask("replace", path)
        with self._lock:
            is_same = self.versions.get(path) == version or not self.conditions
            return self._store(path, source, content_type, metadata) if is_same else None

    def put(self, path, source, *, content_type="", metadata=None):
        self._ask("put", path)
        with self._lock:
            self._store(path, source, content_type, metadata)

    def get(self, path):
        self._ask("get", path)
        return self.objects.get(path)

    def read(self, path):
        self._ask("read", path)
        with self._lock:
            return Content(self.objects[path], self.versions[path]) if path in self.objects else None

    def fetch(self, path, target):
        self._ask("fetch", path)
        if path not in self.objects:
            return False
        Path(target).write_bytes(self.objects[path])
        return True

    def head(self, path):
        self._ask("head", path)
        with self._lock:
            if path not in self.objects:
                return None
            return Meta(len(self.objects[path]), self.versions[path], self.metadata[path])

    def list(self, prefix=""):
        self._ask("list", prefix)
        return iter(
            [Entry(path, len(data)) for path, data in sorted(self.objects.items()) if path.startswith(f"{prefix}/")]
        )

    def delete(self, paths):
        for path in paths:
            self._ask("delete", path)
            self.objects.pop(path, None)
            self.versions.pop(path, None)

    def knows_conditions(self):
        self._ask("probe", "")
        return self.conditions

    def with_patience(self, patience_s):
        return self

    def asked(self, name):
        """Return the paths of all calls of this name."""
        return [path for called, path in self.requests if called == name]

    def fill(self, root, run_id="20260101T000000Z-aaaaaa"):
        """Put the output folder `root` into the bucket, as a run would have."""
        for path in sorted(root.rglob("*")):
            name = path.relative_to(root).as_posix()
            if name == "manifest.jsonl":
                self.put(f"journal/000001-{run_id}/00000001.jsonl", path)
            elif path.is_file() and not name.startswith("."):
                self.put(name, path)
        self.requests.clear()
        return self

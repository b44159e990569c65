"""A bucket in memory, with the interface of `venice_batch.bucket.store.Bucket`."""

import hashlib
import threading
from pathlib import Path
from typing import ClassVar

from venice_batch.bucket.store import Content, Entry, Meta, Version
from venice_batch.errors import BucketError


class MemoryBucket:
    """Keeps objects in a dict; `broken` names paths whose writes fail."""

    stores: ClassVar[dict[str, dict]] = {}

    def __init__(self, address, environ=(), **others):
        self.address = address
        self.objects = self.stores.setdefault(address, {})
        self.calls = []
        self.broken = set()
        self.heeds_conditions = True
        self._lock = threading.RLock()

    def _store(self, path, source, metadata, content_type):
        if path in self.broken or path.partition("/")[0] in self.broken:
            raise BucketError(self.address, "does not answer; run again later")
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
        before = self.objects.get(path)
        number = 1 if before is None else before[3] + 1
        self.objects[path] = (data, dict(metadata), content_type, number)
        return self._version(path)

    def _version(self, path):
        data, _, _, number = self.objects[path]
        return Version(hashlib.md5(data).hexdigest(), str(number))

    def create(self, path, source, *, content_type="", metadata={}):  # noqa: B006 - never changed
        with self._lock:
            self.calls.append(("create", path))
            if path in self.objects and self.heeds_conditions:
                return None
            return self._store(path, source, metadata, content_type)

    def replace(self, path, source, version, *, content_type="", metadata={}):  # noqa: B006 - never changed
        with self._lock:
            self.calls.append(("replace", path))
            if self.heeds_conditions and (path not in self.objects or self._version(path) != version):
                return None
            return self._store(path, source, metadata, content_type)

    def put(self, path, source, *, content_type="", metadata={}):  # noqa: B006 - never changed
        with self._lock:
            self.calls.append(("put", path))
            self._store(path, source, metadata, content_type)

    def get(self, path):
        found = self.objects.get(path)
        return None if found is None else found[0]

    def read(self, path):
        with self._lock:
            return Content(self.objects[path][0], self._version(path)) if path in self.objects else None

    def fetch(self, path, target):
        data = self.get(path)
        if data is None:
            return False
        Path(target).write_bytes(data)
        return True

    def head(self, path):
        with self._lock:
            if path not in self.objects:
                return None
            return Meta(len(self.objects[path][0]), self._version(path), self.objects[path][1])

    def list(self, prefix=""):
        folder = f"{prefix.rstrip('/')}/" if prefix else ""
        for path in sorted(self.objects):
            if path.startswith(folder):
                yield Entry(path, len(self.objects[path][0]))

    def delete(self, paths):
        with self._lock:
            for path in paths:
                self.objects.pop(path, None)

    def knows_conditions(self):
        return self.heeds_conditions

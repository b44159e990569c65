"""A store of obstore in memory that fails as real ones do."""

from __future__ import annotations

from collections import Counter

from obstore.exceptions import AlreadyExistsError, GenericError, PermissionDeniedError, PreconditionError
from obstore.store import MemoryStore

from venice_batch.bucket.store import Bucket


def answered(status, words="", code="SomeCode"):
    """The text of an error with a status, as obstore writes it."""
    return (
        f"Generic S3 error: Error performing PUT http://127.0.0.1:1/b/k?X-Sig=abc in 4.2ms - Server returned non-2xx "
        f"status code: {status} {words}: <Error><Code>{code}</Code><Message>Some words.</Message></Error>"
    )


SLOW = "Generic S3 error: HTTP error: error sending request\n\nDebug source:\nHttpError { kind: Timeout, TimedOut }"
REFUSED = "Generic S3 error: HTTP error: error sending request\n\nDebug source:\nkind: Connect\nConnection refused"

FAULTS = {
    # the call was carried out, its answer was lost
    "lost": lambda: GenericError(SLOW),
    "hangs": lambda: GenericError(SLOW),
    "unreachable": lambda: GenericError(REFUSED),
    "409": lambda: AlreadyExistsError(answered(409, "Conflict")),
    "412": lambda: PreconditionError(answered(412, "Precondition Failed")),
    "404": lambda: FileNotFoundError("Object at location k not found"),
    "501": lambda: GenericError(answered(501, "Not Implemented")),
    "503": lambda: GenericError(answered(503, "Slow Down", "SlowDown")),
    "400": lambda: GenericError(answered(400, "Bad Request")),
    "403": lambda: PermissionDeniedError(answered(403, "Forbidden", "AccessDenied")),
}


class FaultyStore:
    """A MemoryStore whose next calls fail as `fail` says.

    `ignores_conditions`: it overwrites where it should not. `forgets_metadata`: it returns none. `chance` returns the
    fault of each call that `fail` says nothing about.
    """

    def __init__(self, *, ignores_conditions=False, forgets_metadata=False, chance=lambda method: "ok"):
        self.memory = MemoryStore()
        self.ignores_conditions = ignores_conditions
        self.forgets_metadata = forgets_metadata
        self.calls = Counter()
        self.chance = chance
        self.options = []
        self._next = {}

    def fail(self, method, *faults):
        """Have the next calls of `method` fail; "ok" lets one through, and the last of all lasts if it ends in `!`."""
        self._next[method] = list(faults)

    def put(self, path, file, **options):
        self.options.append(options)
        if self.ignores_conditions:
            options = {name: value for name, value in options.items() if name != "mode"}
        if self.forgets_metadata:
            options.pop("attributes", None)
        return self._carry_out("put", lambda: self.memory.put(path, file, **options))

    def get(self, path, **options):
        return self._carry_out("get", lambda: self.memory.get(path, **options))

    def list(self, prefix=None):
        return self._carry_out("list", lambda: self.memory.list(prefix, chunk_size=2))

    def delete(self, paths):
        return self._carry_out("delete", lambda: self.memory.delete(paths))

    def _carry_out(self, method, call):
        self.calls[method] += 1
        faults = self._next.get(method) or [self.chance(method)]
        fault = faults[0] if faults[0].endswith("!") else faults.pop(0)
        fault = fault.removesuffix("!")
        result = call() if fault in ("ok", "lost") else None
        if fault != "ok":
            raise FAULTS[fault]()
        return result


class Time:
    """A clock that moves only in sleeps, and by hand."""

    def __init__(self):
        self.now_s = 1000.0
        self.slept = []

    def now(self):
        return self.now_s

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now_s += max(seconds, 0.05)


def bucket_on(store, time=None, *, address="s3://pictures/night", **options):
    """A bucket whose clients are all `store`; `time` moves when it sleeps."""
    time = time or Time()
    return Bucket(address, {}, connect=lambda timeout_s: store, sleep=time.sleep, now=time.now, **options)

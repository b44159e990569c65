"""A bucket as the output folder of a run: what the run reads from it at its start, and writes to it as it goes."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import msgspec

from venice_batch.bucket import journal
from venice_batch.bucket.copies import Copy, in_threads
from venice_batch.bucket.store import Bucket
from venice_batch.errors import BucketError, FolderError
from venice_batch.events import JobEnded
from venice_batch.model import Purchase
from venice_batch.output.folder import PART_SUFFIX, RUN_FILE, unusable
from venice_batch.output.originals import copied
from venice_batch.output.plain_files import on_disk

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from venice_batch.bucket.lease import Lease
    from venice_batch.events import Event
    from venice_batch.model import ImageFile
    from venice_batch.output.folder import Hold
    from venice_batch.output.manifest import FileView

SCRATCH = "venice-batch-"
"""How the names of scratch folders begin."""

KEPT = "kept"
"""The folder beside the scratch folder for images that the bucket did not take; it stays when the run ends."""

_SHA256 = "sha256"
_RUN = "run"
_PURCHASE = "purchase"
_MOST_CHARACTERS = 1800
"""The longest purchase as metadata. S3 takes 2 KB in all; the hash, the run's id and a random word need 150."""

_LOOKED_AT = 1024
"""Images whose metadata are asked for at a time; each takes 2 KB while it waits for its turn."""
_LONGEST_S = 86_400.0
_YEARS = (946_684_800.0, 4_102_444_800.0)
"""2000 and 2100. A note about a moment outside is nonsense."""

_TYPES = {".html": "text/html", ".json": "application/json", ".jsonl": "application/jsonl", ".webp": "image/webp"}


class BucketFolder:
    """A bucket and prefix that takes the place of an output folder.

    The bucket is the truth. `root` is a scratch folder: a copy of the records and of what people said about the images,
    and the images that are under way. Every call waits for the network.
    """

    def __init__(self, bucket: Bucket, root: Path, *, without_lock: bool = False) -> None:
        """Use `root`, an empty folder, as scratch; `without_lock` accepts a store that ignores conditions.

        `redact` may be set to what removes the API key from error texts.
        """
        self.bucket = bucket
        self.address = bucket.address
        self.root = root
        self.has_lock = True
        self.redact: Callable[[str], str] = str
        self._without_lock = without_lock
        self._copy: Copy | None = None
        self._opened = contextlib.ExitStack()

    def close(self) -> None:
        """Forget the copy."""
        self._opened.close()

    def copy(self) -> Copy:
        """Return the copy in `root`, brought there at the first use. Raises FolderError: the bucket cannot be read."""
        if self._copy is None:
            self._copy = Copy(self.bucket, self.root)
            self._opened.enter_context(copied(self.root, self._copy))
        return self._copy

    def prove_conditions(self) -> None:
        """Find out whether the store heeds conditions; `has_lock` says so afterwards.

        Raises:
            BucketError: it does not, and nobody has accepted that; or it cannot be reached.
        """
        self.has_lock = self.bucket.knows_conditions()
        if not self.has_lock and not self._without_lock:
            what = "this store ignores conditions, so nothing keeps two runs apart"
            raise BucketError(self.address, f"{what}; if only one ever runs, give --bucket-without-lock")

    def bring(self) -> None:
        """Bring the copy up to date, before anything uses the manifest in `root`.

        Raises:
            FolderError: the bucket does not answer or refuses, or `root` takes no files.
        """
        if self._copy is None:
            self.copy()
        else:
            self._copy.refresh()
            self._copy.list_again()  # another run may have ended since, while this one waited for the lock

    def whole(self, *, verify: bool) -> Callable[[Sequence[FileView]], bool]:
        """Return what says whether all of a record's files are in the bucket with their sizes (`verify`: hashes)."""
        return self._have_hashes if verify else self._have_sizes

    def _have_sizes(self, files: Sequence[FileView]) -> bool:
        return bool(files) and all(self.copy().size(file.path) == file.bytes for file in files)

    def _have_hashes(self, files: Sequence[FileView]) -> bool:
        return self._have_sizes(files) and all(self._sha256(file.path) == file.sha256 for file in files)

    def _sha256(self, path: str) -> str | None:
        data = self.bucket.get(path)
        return None if data is None else hashlib.sha256(data).hexdigest()

    def __call__(self, event: Event) -> None:
        """Remember the sizes of a finished job's images; as an observer of the run."""
        if isinstance(event, JobEnded):
            for file in event.outcome.files:
                self.copy().note(file.path, file.bytes)

    def purchases(self, paths: Collection[str]) -> list[tuple[str, Purchase]]:
        """Return the purchases noted beside these images, each with its run's id; one request for each image.

        Left out are images without a note that makes sense, those that are not as noted, and those about which the
        store refuses to say anything. Raises FolderError.
        """
        found: list[tuple[str, Purchase]] = []

        def look(path: str) -> None:
            try:
                meta = self.bucket.head(path)
            except BucketError as error:
                if error.is_outage:
                    raise
                return  # metadata that the library cannot read, or another key
            purchase = None if meta is None else _purchase(meta.metadata)
            if meta is not None and purchase is not None:
                file = purchase.file
                if (file.path, file.bytes, file.sha256) == (path, meta.size_bytes, meta.metadata.get(_SHA256)):
                    found.append((meta.metadata.get(_RUN, ""), purchase))

        ordered = sorted(paths)
        for start in range(0, len(ordered), _LOOKED_AT):
            in_threads(look, ordered[start : start + _LOOKED_AT])
        return found

    def publish(self, names: Iterable[str]) -> None:
        """Copy files of `root` into the bucket under their names, and all files of folders; leave out missing ones.

        Raises:
            FolderError: the bucket has not taken one.
        """
        for name in names:
            path = self.root / name
            for file in sorted(path.iterdir()) if path.is_dir() else [path]:
                if file.is_file() and file.stat().st_size:
                    content_type = _TYPES.get(file.suffix, "application/octet-stream")
                    self.bucket.put(file.relative_to(self.root).as_posix(), file, content_type=content_type)

    def segments(self, run_id: str) -> journal.Journal:
        """Return where a run's records are written."""
        return journal.Journal(self.bucket, run_id)

    def images(self, run_id: str) -> BucketImages:
        """Return where the images of a run get their names."""
        return BucketImages(self.bucket, self.root, run_id, has_conditions=self.has_lock)

    def hold(self, scratch: Hold, lease: Lease | None) -> BucketHold:
        """Return a run's hold on the bucket and its scratch folder."""
        return BucketHold(scratch, lease, self.address)

    def running(self) -> None:
        """Copy `.run.json` into the bucket; nothing depends on it."""
        with contextlib.suppress(FolderError):
            self.publish([RUN_FILE])

    def ended(self) -> None:
        """Remove `.run.json` from the bucket."""
        with contextlib.suppress(FolderError):
            self.bucket.delete([RUN_FILE])


class _Given(TypedDict):
    content_type: str
    metadata: Mapping[str, str]


class BucketImages:
    """An `ImageStore` in a bucket: each image is one PUT that creates it, and its temporary file goes afterwards.

    `root` is the scratch folder, where images stay that other jobs will read. Objects have their SHA-256, the run and
    the purchase as metadata. On a store without conditions it looks first; there another run could come between. An
    image that the bucket does not take is paid for, so it is kept in the folder `KEPT` beside `root`; the BucketError
    names that.
    """

    def __init__(self, bucket: Bucket, root: Path, run_id: str, *, has_conditions: bool = True) -> None:
        self._bucket = bucket
        self._root = root
        self._run_id = run_id
        self._has_conditions = has_conditions

    def put(self, part: str, image: ImageFile, *, keep: bool, purchase: Purchase | None = None) -> bool:
        return self._stored(self._put, part, image, purchase, keep=keep)

    def _put(self, part: str, image: ImageFile, purchase: Purchase | None) -> bool:
        given = self._given(image, purchase)
        if not self._has_conditions:
            if self._bucket.head(image.path) is not None:
                return False
            self._bucket.put(image.path, Path(part), **given)
            return True
        return self._bucket.create(image.path, Path(part), **given) is not None

    def replace(self, part: str, image: ImageFile, *, keep: bool, purchase: Purchase | None = None) -> bool:
        return self._stored(self._replace, part, image, purchase, keep=keep)

    def _replace(self, part: str, image: ImageFile, purchase: Purchase | None) -> bool:
        given = self._given(image, purchase)
        if not self._has_conditions:
            self._bucket.put(image.path, Path(part), **given)
            return True
        if (standing := self._bucket.head(image.path)) is None:
            return self._put(part, image, purchase)
        return self._bucket.replace(image.path, Path(part), standing.version, **given) is not None

    def _stored(
        self,
        store: Callable[[str, ImageFile, Purchase | None], bool],
        part: str,
        image: ImageFile,
        purchase: Purchase | None,
        *,
        keep: bool,
    ) -> bool:
        """Call `store`; if the bucket refuses, once more without the purchase: some take no metadata of that length."""
        with self._kept_on_failure(part, image):
            try:
                is_put = store(part, image, purchase)
            except BucketError as error:
                if purchase is None or error.is_outage:
                    raise
                is_put = store(part, image, None)
        if is_put:
            self._leave(part, image, keep=keep)
        return is_put

    def take_back(self, part: str, image: ImageFile) -> None:
        # What cannot be fetched stays in the bucket: it is paid for.
        with contextlib.suppress(BucketError, OSError):
            kept = self._kept(image)
            partial = kept.with_name(f"{kept.name}{PART_SUFFIX}")
            if self._bucket.fetch(image.path, partial):
                os.replace(partial, kept)
                self._bucket.delete([image.path])

    def set_aside(self, part: str, image: ImageFile) -> None:
        with contextlib.suppress(OSError):
            os.replace(part, self._kept(image))

    @contextlib.contextmanager
    def _kept_on_failure(self, part: str, image: ImageFile) -> Iterator[None]:
        """Keep the image if the bucket does not take it."""
        try:
            yield
        except BucketError as error:
            os.replace(part, self._kept(image))
            place = (self._root.parent / KEPT).absolute()
            raise BucketError(error.path, f"{error.reason}; images that it did not take are in {place}") from error

    def _kept(self, image: ImageFile) -> Path:
        path = self._root.parent / KEPT / on_disk(image.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _leave(self, part: str, image: ImageFile, *, keep: bool) -> None:
        if keep:
            os.replace(part, f"{self._root}/{on_disk(image.path)}")
        else:
            os.unlink(part)

    def _given(self, image: ImageFile, purchase: Purchase | None) -> _Given:
        content_type = f"image/{image.format}" if image.format else "application/octet-stream"
        metadata = {_SHA256: image.sha256, _RUN: self._run_id, **_noted(purchase)}
        return {"content_type": content_type, "metadata": metadata}


def _noted(purchase: Purchase | None) -> dict[str, str]:
    """Return a purchase as metadata, which is ASCII; nothing if it is too long, as with an enhanced prompt of pages."""
    if purchase is None:
        return {}
    text = base64.urlsafe_b64encode(msgspec.json.encode(purchase)).decode()
    return {_PURCHASE: text} if len(text) <= _MOST_CHARACTERS else {}


def _purchase(metadata: Mapping[str, str]) -> Purchase | None:
    """Return the purchase in an image's metadata; None if there is none that makes sense."""
    try:
        found = msgspec.json.decode(base64.urlsafe_b64decode(metadata[_PURCHASE]), type=Purchase)
    except (KeyError, ValueError, RecursionError):  # the errors of base64 and msgspec are ValueErrors
        return None
    sent = found.sent
    makes_sense = 0 <= found.took_s <= _LONGEST_S and sent.waited_s >= 0 and _YEARS[0] <= sent.enqueued_unix_s
    is_kept = found.file.pruned is None and sent.enqueued_unix_s + sent.waited_s <= _YEARS[1]
    return found if makes_sense and is_kept else None


class BucketHold:
    """A run's hold on a bucket and on its scratch folder.

    `notices` are sentences for the user about how the hold is weaker than it should be.
    """

    def __init__(self, scratch: Hold, lease: Lease | None, address: str) -> None:
        self._scratch = scratch
        self._lease = lease
        weak = f"{address}: this store ignores conditions; nothing keeps another run out of it"
        self.notices = (*scratch.notices, *(() if lease else (weak,)))

    def check(self) -> None:
        """Check that the lock still belongs to this run. Raises FolderError: it may not."""
        self._scratch.check()
        if self._lease is not None:
            self._lease.check()


@contextlib.contextmanager
def opened(
    address: str,
    environ: Mapping[str, str],
    *,
    scratch: Path | None = None,
    without_lock: bool = False,
) -> Iterator[BucketFolder]:
    """Open the bucket at `address`, with a new scratch folder (in `scratch`, if given) while the block lasts.

    Images that the bucket did not take stay in the folder `KEPT` beside it.

    Raises:
        UsageError: the address is wrong, or the extra `bucket` is not installed.
        FolderError: no scratch folder can be made.
    """
    bucket = Bucket(address, environ, redact=lambda text: folder.redact(text))
    try:
        if scratch is not None:
            scratch.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=SCRATCH, dir=scratch))
        # Pages are named after their folder.
        root = temporary / (address.rstrip("/").rpartition("/")[2])
        root.mkdir()
    except OSError as error:
        raise unusable(scratch or Path(tempfile.gettempdir()), error) from error
    folder = BucketFolder(bucket, root, without_lock=without_lock)
    try:
        yield folder
    finally:
        folder.close()
        shutil.rmtree(root, ignore_errors=True)
        with contextlib.suppress(OSError):  # not empty if images are kept
            temporary.rmdir()

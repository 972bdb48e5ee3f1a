"""Which contents callers may name by their hashes (docs/security.md: Grants).

A caller who has sent some bytes, or whose job has produced them, has a grant of them: a record of their hash. To all
others, the content does not exist as long as they know only its hash. The metadata documents of a user's blobs have
such records too, so that lists show a user their own blobs.

A grant is recorded after its content is stored, and before the request succeeds. If the process dies in between, the
client sends the content again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from cloud_executor.blobs.store import ContentMissing, StoredBlob
from cloud_executor.errors import NotFound
from cloud_executor.model.access.caller import Caller, Role
from cloud_executor.model.access.owner import GUEST
from cloud_executor.model.blobs.metadata import BlobMetadata
from cloud_executor.ports import GrantStore

LISTED_AT_ONCE = 200
"""Number of blobs of a list that are looked up at once."""


@dataclass(frozen=True, slots=True)
class Grants:
    """The use cases of grants. Guests and administrators have all grants. Safe for concurrent use."""

    open_store: Callable[[], GrantStore]
    """Returns the store. It is not called for guests, so a server without users opens none."""
    has_users: bool = True
    counts_guests: bool = False
    """Whether the contents of guests are recorded, because their size is limited."""

    def granted(self, caller: Caller, content_hashes: Collection[str]) -> Collection[str]:
        """Those of the contents that the caller may name by their hashes, whether they are stored or not."""
        if _has_all(caller):
            return content_hashes
        return self.open_store().granted(caller.user, content_hashes)

    def check(self, caller: Caller, metadata: BlobMetadata, shared: Iterable[BlobMetadata] = ()) -> None:
        """Check the contents of a blob that the caller creates. Raises ContentMissing.

        A caller who knows a blob's hash may read the blob. So soft links are not checked, and the caller may name the
        contents of `shared`, blobs whose hashes it has sent.
        """
        if _has_all(caller):
            return
        names = metadata.contents()
        missing = names.keys() - self.open_store().granted(caller.user, names.keys())
        if missing:
            missing -= {content_hash for blob in shared for content_hash in blob.contents()}
        if missing:
            content_hash = min(missing)
            raise ContentMissing.of(content_hash, names[content_hash])

    def visible(self, caller: Caller, blobs: Iterable[StoredBlob]) -> Iterator[StoredBlob]:
        """Those of the blobs that are public or the caller's own."""
        remaining = iter(blobs)
        while group := list(islice(remaining, LISTED_AT_ONCE)):
            own = self.open_store().granted(caller.user, [blob.hash for blob in group])
            yield from (blob for blob in group if blob.hash in own or _is_public(blob))

    def add(self, user: str, sizes: Mapping[str, int]) -> None:
        """Record that the user has these contents, given as hash -> size. Safe to repeat."""
        if sizes and self._are_recorded(user):
            self.open_store().grant(user, sizes)

    def add_file(self, user: str, blob: StoredBlob) -> None:
        """Record that the user has the bytes of this file, and its metadata document. Safe to repeat."""
        if self._are_recorded(user):
            metadata = blob.metadata
            self.add(user, {blob.hash: len(blob.canonical), metadata.content_hash: int(metadata.size)})

    def forget(self, content_hash: str) -> None:
        """Delete all grants of a deleted content or metadata document. It does nothing on a server that has none.

        Until then, its bytes count for its users. So after a crash or an error, the caller has to repeat this.
        """
        if self.has_users or self.counts_guests:
            self.open_store().forget(content_hash)

    def _are_recorded(self, user: str) -> bool:
        return user != GUEST or self.counts_guests


def _is_public(blob: StoredBlob) -> bool:
    try:
        return blob.metadata.is_public
    except NotFound:
        return False  # another program has stored an invalid document


def _has_all(caller: Caller) -> bool:
    return caller.user == GUEST or caller.may(Role.ADMIN)

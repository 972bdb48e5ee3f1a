"""Records of access tokens in Firestore, as documents `tokens/{id}`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from google.api_core import exceptions
from google.api_core.retry import Retry

from cloud_executor.backends.google.errors import google_errors, with_google_errors
from cloud_executor.backends.google.firestore.database import open_database
from cloud_executor.backends.google.firestore.documents import document_key
from cloud_executor.errors import Conflict
from cloud_executor.model.access.token import TokenRecord

CALL_SECONDS = 10.0
"""Timeout of a call, including its retries, in seconds."""

_RETRIED: dict[str, Any] = {"retry": Retry(initial=0.05, maximum=1.0, timeout=CALL_SECONDS), "timeout": CALL_SECONDS}

_DECODER = msgspec.json.Decoder(TokenRecord)


class FirestoreTokenStore:
    """A TokenStore in a Cloud Firestore database (native mode)."""

    def __init__(self, project: str | None, database: str) -> None:
        self._client = open_database(project, database)

    @with_google_errors
    def add(self, record: TokenRecord) -> None:
        body = msgspec.json.encode(record).decode()
        try:
            self._document(record.id).create({"body": body}, **_RETRIED)
        except exceptions.AlreadyExists as error:
            # A retried call finds the document of a call whose response was lost.
            if self._document(record.id).get(**_RETRIED).get("body") != body:
                raise Conflict from error

    @with_google_errors
    def get(self, token_id: str) -> TokenRecord | None:
        snapshot = self._document(token_id).get(**_RETRIED)
        return _DECODER.decode(snapshot.get("body")) if snapshot.exists else None

    def tokens(self) -> Iterator[TokenRecord]:
        with google_errors():
            snapshots = self._tokens.get(**_RETRIED)
        for snapshot in snapshots:
            yield _DECODER.decode(snapshot.get("body"))

    @with_google_errors
    def delete(self, token_id: str) -> bool:
        document = self._document(token_id)
        existed: bool = document.get(**_RETRIED).exists
        document.delete(**_RETRIED)
        return existed

    @property
    def _tokens(self) -> Any:  # noqa: ANN401 - the library's types are incomplete
        return self._client.get().collection("tokens")

    def _document(self, token_id: str) -> Any:  # noqa: ANN401 - as above
        return self._tokens.document(document_key(token_id))

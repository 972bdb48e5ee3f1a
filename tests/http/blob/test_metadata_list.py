from __future__ import annotations

from http_server import EMBEDDED, StartServer


def test_the_list_has_the_public_blobs_or_on_request_all_blobs(start_server: StartServer) -> None:
    server = start_server()
    assert server.get("/rest/blob/metadata").json == {}
    private = server.create_file("private.txt", b"x")
    public = server.create_metadata({"name": "public", "isPublic": True, "content": "0" * 40})
    listed = server.get("/rest/blob/metadata").json
    assert listed == {public: server.get(f"/rest/blob/metadata/{public}").json}
    for query in ("?all=1", "/?all=false", "?all=%20"):
        assert server.get(f"/rest/blob/metadata{query}").json.keys() == {private, public}
    for query in ("?all=", "?all", "?other=1"):
        assert server.get(f"/rest/blob/metadata{query}").json.keys() == {public}


@EMBEDDED
def test_the_operator_can_keep_private_blobs_off_the_list(start_server: StartServer) -> None:
    server = start_server(allow_list_all="false")
    private = server.create_file("private.txt", b"x")
    assert server.get("/rest/blob/metadata?all=1").json == {}
    assert server.get(f"/rest/blob/metadata/{private}").status == 200


def test_foreign_files_in_the_store_do_not_break_the_list(start_server: StartServer) -> None:
    server = start_server()
    blob_hash = server.create_file("x", b"x")
    for name, content in (
        ("README", b"not ours"),
        (f"ab/{'c' * 38}", b""),
        (f"ab/{'d' * 38}", b"[]"),
        ("ab/short", b"{}"),
    ):
        server.objects.put(f"wg-metadata/{name}", [content])
    assert server.get("/rest/blob/metadata?all=1").json.keys() == {blob_hash}
    assert server.get(f"/rest/blob/metadata/ab{'c' * 38}").status == 404


def test_a_long_list_is_complete(start_server: StartServer) -> None:
    server = start_server()
    made = {server.create_metadata({"name": f"{number}" * 1000, "content": "0" * 40}) for number in range(100)}
    assert server.get("/rest/blob/metadata?all=1").json.keys() == made

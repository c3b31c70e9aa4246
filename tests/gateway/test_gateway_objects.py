"""A server whose songs are in a bucket."""

from __future__ import annotations

from pathlib import Path

from served import serving

from s3_server import Door, S3Server


def test_a_song_in_a_bucket_is_served_whole_and_in_ranges_and_503_while_the_store_is_away(
    s3: S3Server, tmp_path: Path
) -> None:
    name = s3.new_bucket()
    door = Door(s3.url)
    environment = s3.environment | {"AWS_ENDPOINT_URL_S3": door.url, "TONEWHEEL_STORAGE_URL": f"s3://{name}/tw"}
    with serving(tmp_path / "data", **environment) as server:
        job = server.wait(server.order(format="flac"), s=240)
        assert job["state"] == "done", job
        song = server.client.get(job["song_url"]).json()
        artifact = next(a for a in song["artifacts"] if a["kind"] == "song")
        whole = server.client.get(artifact["url"])
        assert (whole.status_code, len(whole.content)) == (200, artifact["size_bytes"])
        assert whole.content.startswith(b"fLaC") and whole.headers["content-type"] == "audio/flac"
        size = len(whole.content)
        for asked, first, last in (
            ("bytes=0-99", 0, 99), ("bytes=300000-800000", 300_000, 800_000), ("bytes=-10", size - 10, size - 1),
        ):  # fmt: skip
            part = server.client.get(artifact["url"], headers={"range": asked})
            assert (part.status_code, part.headers["content-range"]) == (206, f"bytes {first}-{last}/{size}")
            assert part.content == whole.content[first : last + 1]
        assert server.client.get(artifact["url"], headers={"range": f"bytes={size}-"}).status_code == 416
        stored = [key for key in s3.keys(name) if key.startswith("tw/artifacts/")]
        assert len(stored) == len({a["sha256"] for a in song["artifacts"]})
        assert not any((tmp_path / "data" / folder).exists() for folder in ("artifacts", "work"))

        door.shut()
        away = server.client.get(artifact["url"])
        assert (away.status_code, away.json()["detail"]["type"]) == (503, "unavailable")
        assert "retry-after" in away.headers and door.url not in away.text
        assert server.client.get(job["song_url"]).status_code == 200  # what is known of it is not in the store
        door.open()
        assert server.client.get(artifact["url"]).content == whole.content
    door.shut()
